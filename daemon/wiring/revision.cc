#include "daemon/wiring/revision.h"

namespace gantry::wiring {

std::string Revision() { return GANTRY_REVISION; }

}  // namespace gantry::wiring
