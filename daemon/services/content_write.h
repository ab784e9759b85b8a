// One stream of Content.Write: the ingest of one ref. Private to the content service.
#ifndef GANTRY_DAEMON_SERVICES_CONTENT_WRITE_H_
#define GANTRY_DAEMON_SERVICES_CONTENT_WRITE_H_

#include <memory>

#include "api/proto/containerd/services/content/v1/content.pb.h"
#include "daemon/events/exchange.h"
#include "daemon/metadata/content.h"
#include "daemon/server/streams.h"

namespace gantry::services {

// The first message names the ref, which is locked as long as the exchange lives. Each message then is
//   STAT    answered with the offset, the digest so far and the times;
//   WRITE   data for the current offset; offset 0 where more is written already begins anew, any other offset is
//           OUT_OF_RANGE;
//   COMMIT  data as in WRITE, then checked against total and expected, and made a blob; ends the stream.
std::unique_ptr<server::Exchange<containerd::services::content::v1::WriteContentRequest,
                                 containerd::services::content::v1::WriteContentResponse>>
MakeContentWrite(metadata::ContentStore* content, events::Publisher* publisher, metadata::Scope scope);

}  // namespace gantry::services

#endif  // GANTRY_DAEMON_SERVICES_CONTENT_WRITE_H_
