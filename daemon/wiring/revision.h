// Which commit this program was built from.
#ifndef GANTRY_DAEMON_WIRING_REVISION_H_
#define GANTRY_DAEMON_WIRING_REVISION_H_

#include <string>

namespace gantry::wiring {

// The commit's 40 hexadecimal digits; "unknown" when the build had no git checkout. Never empty: dockerd reports it,
// and takes an empty one for a daemon that does not know itself.
std::string Revision();

}  // namespace gantry::wiring

#endif  // GANTRY_DAEMON_WIRING_REVISION_H_
