#ifndef BREAKER_STORE_RECORD_CODEC_H_
#define BREAKER_STORE_RECORD_CODEC_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/engine/key.h"
#include "server/engine/permit_ids.h"
#include "server/engine/sessions.h"
#include "server/engine/snapshot.h"
#include "server/store/state_store.h"

// Stored records as bytes, and back. Decoding what was encoded gives an equal value.
//
// Format: each record is one protobuf message of record.proto, whose field 1 is the version of its
// format. There is no checksum; the database has its own. Fields that are zero or absent take no
// bytes: a breaker that was never called takes six.
//
// How the format may change:
//   - A field is never given another meaning, type or number, and a number is never used again.
//   - A field that older builds may ignore and drop when they write the record next is just added.
//   - Any other field, such as one of Policy that bears on a decision, comes with the next version.
//     Builds read every version up to their own; in the record of an older version such a field is
//     absent, and Decode fills in what used to hold. An older build refuses the newer record, says
//     so and leaves it in place, so that going back and forth between builds loses nothing in
//     silence.
//
// Decoding checks what the engine relies on: numbers of enums and the bounds of policies. Errors
// are DATA_LOSS where the bytes make no sense and FAILED_PRECONDITION for a newer version.
namespace breaker::server {

inline constexpr uint32_t kRecordVersion = 1;

std::string EncodeBreaker(const BreakerSnapshot& snapshot);
absl::StatusOr<BreakerSnapshot> DecodeBreaker(const KeyView& key, absl::string_view bytes);

std::string EncodePolicy(const StoredPolicy& policy);
absl::StatusOr<StoredPolicy> DecodePolicy(const KeyView& key, absl::string_view bytes);

std::string EncodeSession(const SessionMark& mark);
absl::StatusOr<SessionMark> DecodeSession(uint64_t session, absl::string_view bytes);

std::string EncodeEpoch(const PermitEpoch& epoch);
absl::StatusOr<PermitEpoch> DecodeEpoch(absl::string_view bytes);

// The version of a database's layout.
std::string EncodeSchema(uint32_t version);
absl::StatusOr<uint32_t> DecodeSchema(absl::string_view bytes);

}  // namespace breaker::server

#endif  // BREAKER_STORE_RECORD_CODEC_H_
