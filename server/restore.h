#ifndef BREAKER_RESTORE_H_
#define BREAKER_RESTORE_H_

#include <string>

#include "absl/status/statusor.h"
#include "breaker/v1/admin.pb.h"

namespace breaker::server {

// Makes the backup in the folder `backup` the database of `data_dir`, which must have none and be
// in use by nobody. Either all of it is in place, and outlives the machine, or none is: an error
// says in one sentence why. The daemon that opens it begins new permits.
absl::StatusOr<v1::BackupSummary> Restore(const std::string& backup, const std::string& data_dir);

}  // namespace breaker::server

#endif  // BREAKER_RESTORE_H_
