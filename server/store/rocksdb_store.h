#ifndef BREAKER_STORE_ROCKSDB_STORE_H_
#define BREAKER_STORE_ROCKSDB_STORE_H_

#include <cstddef>
#include <memory>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/engine/clock.h"
#include "server/store/checkpoint.h"
#include "server/store/data_dir_lock.h"
#include "server/store/state_store.h"

namespace rocksdb {
class DB;
}  // namespace rocksdb

namespace breaker::server {

// What a write that has returned survives.
enum class Durability {
  kProcess,  // the end of the process, by kill -9 as well; the last moments may be lost if the
             // machine goes down, but never the order in which things were written
  kDisk,     // that of the machine, too: every write waits for the disk
};

// A StateStore in a RocksDB database at `<data_dir>/db`. `<data_dir>/lock` keeps other processes
// out for as long as this object lives.
//
// Layout of the database, version 1:
//
//   m schema                     SchemaRecord    as what follows is laid out; checked at Open
//   m epoch                      EpochRecord     of the last Open
//   b service \0 operation       BreakerRecord
//   p service \0 operation       PolicyRecord    either name may be "*"
//   s name                       SessionRecord   the name as 16 hexadecimal digits
//
// without the spaces: the first byte is the kind. Names hold no control characters. Values are
// described in record_codec.h.
//
// A database that is corrupt is renamed to `<data_dir>/db.corrupt-<UTC time>`, with an error in the
// log, and a new one is begun; nothing is ever deleted.
class RocksDbStore : public StateStore {
 public:
  // Touches nothing before Open, which creates `data_dir` where it is missing. `clock` is not owned
  // and must outlive the store.
  RocksDbStore(std::string data_dir, Durability durability, const Clock* clock);
  // Closes the database. What was written stays.
  ~RocksDbStore() override;

  RocksDbStore(const RocksDbStore&) = delete;
  RocksDbStore& operator=(const RocksDbStore&) = delete;

  absl::StatusOr<PermitEpoch> Open() override;
  absl::Status Load(const StoreReader& reader) override;
  absl::Status Write(const StoreBatch& batch) override;
  // In `<data_dir>/checkpoint`, of which there can be one at a time. Tables are linked, not copied.
  absl::StatusOr<std::unique_ptr<Checkpoint>> MakeCheckpoint() override;

 private:
  // DATA_LOSS if the database is corrupt.
  absl::StatusOr<PermitEpoch> OpenDatabase();
  absl::StatusOr<PermitEpoch> NextEpoch();
  absl::Status MoveAside(absl::string_view why);
  // Calls record(key, value) for all keys of one kind.
  absl::Status Scan(char kind, absl::FunctionRef<absl::Status(KeyView, absl::string_view)> record);

  const std::string data_dir_;
  const std::string path_;  // of the database
  const Durability durability_;
  const Clock* const clock_;

  std::unique_ptr<DataDirLock> lock_;  // null = not taken yet
  std::unique_ptr<rocksdb::DB> db_;    // null = not open
  bool corrupt_ = false;               // found by Load
  bool failing_ = false;               // the last Open or Write failed, and the caller knows
};

// Of a database in the folder `path` that nobody has open.

// Reads all of its breakers, and says how many they are. Writes nothing. DATA_LOSS: it is corrupt
// or no database of ours; FAILED_PRECONDITION: it is too new for this build.
absl::StatusOr<size_t> CountBreakers(const std::string& path);

// Has the next Open draw another secret for permits: those that any store with this history has
// given out, or will, are none of its own.
absl::Status ForgetEpoch(const std::string& path);

}  // namespace breaker::server

#endif  // BREAKER_STORE_ROCKSDB_STORE_H_
