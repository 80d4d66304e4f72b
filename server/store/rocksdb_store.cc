#include "server/store/rocksdb_store.h"

#include <stdarg.h>
#include <stdio.h>

#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <system_error>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "rocksdb/cache.h"
#include "rocksdb/db.h"
#include "rocksdb/env.h"
#include "rocksdb/options.h"
#include "rocksdb/table.h"
#include "rocksdb/utilities/checkpoint.h"
#include "rocksdb/write_batch.h"
#include "server/log.h"
#include "server/store/record_codec.h"

namespace breaker::server {
namespace {

constexpr uint32_t kSchemaVersion = 1;
constexpr uint32_t kEpochs = 1 << 20;

constexpr char kBreaker = 'b';
constexpr char kPolicy = 'p';
constexpr char kSession = 's';
constexpr char kSchemaKey[] = "mschema";
constexpr char kEpochKey[] = "mepoch";

constexpr size_t kMiB = 1 << 20;

std::string DatabaseKey(char kind, const KeyView& key) {
  return absl::StrCat(absl::string_view(&kind, 1), key.service, absl::string_view("\0", 1),
                      key.operation);
}

std::string SessionKey(uint64_t session) {
  return absl::StrCat(absl::string_view(&kSession, 1), absl::Hex(session, absl::kZeroPad16));
}

const char* NameOfKind(char kind) {
  return kind == kBreaker ? "breaker" : kind == kPolicy ? "policy" : "session";
}

// `bytes` is what follows the kind.
KeyView ParseKey(absl::string_view bytes) {
  const size_t end = bytes.find('\0');
  if (end == absl::string_view::npos) return {bytes, ""};
  return {bytes.substr(0, end), bytes.substr(end + 1)};
}

absl::string_view View(const rocksdb::Slice& slice) { return {slice.data(), slice.size()}; }

absl::Status FromRocksDb(const rocksdb::Status& status) {
  if (status.ok()) return absl::OkStatus();
  // A path that is not found is a file that the database says it has.
  if (status.IsCorruption() || status.IsPathNotFound()) {
    return absl::DataLossError(status.ToString());
  }
  return absl::UnavailableError(status.ToString());
}

// Passes RocksDB's warnings on to our log. Its own would be a file beside the data; and to fail to
// write that is a broken assertion in RocksDB 7.8, which Debian builds with assertions on: a full
// disk would end the process.
class Warnings : public rocksdb::Logger {
 public:
  explicit Warnings(rocksdb::InfoLogLevel level) : Logger(level) {}

  using Logger::Logv;
  void Logv(const char* format, va_list args) override {
    char text[1024];
    vsnprintf(text, sizeof(text), format, args);
    // Said of every checkpoint, and warns of nothing.
    if (absl::StrContains(text, "File Deletions")) return;
    Log(LogLevel::kWarning, "rocksdb", {{"message", absl::StripAsciiWhitespace(text)}});
  }
  void LogHeader(const char* /*format*/, va_list /*args*/) override {}
};

// A small database that is written all the time and read once: little memory, few threads.
// `quiet` silences it.
rocksdb::Options DatabaseOptions(bool quiet) {
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = rocksdb::NewLRUCache(8 * kMiB);

  rocksdb::Options options;
  options.create_if_missing = true;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  options.write_buffer_size = 16 * kMiB;
  options.max_background_jobs = 2;
  // What a kill or a full disk has cut off is dropped, and all before it is kept.
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kPointInTimeRecovery;
  // After an error it is for our caller to open the database anew.
  options.max_bgerror_resume_count = 0;
  options.info_log = std::make_shared<Warnings>(quiet ? rocksdb::InfoLogLevel::FATAL_LEVEL
                                                      : rocksdb::InfoLogLevel::WARN_LEVEL);
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  return options;
}

// Whether the directory holds tables but no CURRENT file: what is left of a database. RocksDB would
// take it for a new one and delete the tables.
bool LostCurrent(const std::string& path) {
  std::error_code error;
  if (std::filesystem::exists(std::filesystem::path(path) / "CURRENT", error)) return false;
  for (const auto& file : std::filesystem::directory_iterator(path, error)) {
    if (file.path().extension() == ".sst") return true;
  }
  return false;
}

// NOT_FOUND: the database has nothing in it. FAILED_PRECONDITION: it is too new for this build.
absl::StatusOr<uint32_t> ReadSchema(rocksdb::DB& db, const std::string& path) {
  std::string bytes;
  const rocksdb::Status read = db.Get(rocksdb::ReadOptions(), kSchemaKey, &bytes);
  if (read.IsNotFound()) return absl::NotFoundError(absl::StrCat(path, " has no version"));
  if (!read.ok()) return FromRocksDb(read);
  absl::StatusOr<uint32_t> version = DecodeSchema(bytes);
  if (version.ok() && *version > kSchemaVersion) {
    return absl::FailedPreconditionError(absl::StrCat(path, " is of version ", *version,
                                                      "; this build reads version ", kSchemaVersion,
                                                      " at most"));
  }
  return version;
}

// To read everything once.
rocksdb::ReadOptions ScanOptions() {
  rocksdb::ReadOptions options;
  options.readahead_size = 2 * kMiB;
  options.fill_cache = false;
  return options;
}

}  // namespace

RocksDbStore::RocksDbStore(std::string data_dir, Durability durability, const Clock* clock)
    : data_dir_(std::move(data_dir)),
      path_(absl::StrCat(data_dir_, "/", kDatabaseFolder)),
      durability_(durability),
      clock_(clock) {}

RocksDbStore::~RocksDbStore() = default;

absl::StatusOr<PermitEpoch> RocksDbStore::Open() {
  db_.reset();
  if (lock_ == nullptr) {
    absl::StatusOr<std::unique_ptr<DataDirLock>> lock = DataDirLock::Take(data_dir_);
    if (!lock.ok()) return lock.status();
    lock_ = *std::move(lock);
  }
  absl::StatusOr<PermitEpoch> epoch =
      corrupt_ ? absl::DataLossError("corruption was found while loading") : OpenDatabase();
  if (absl::IsDataLoss(epoch.status())) {
    if (absl::Status moved = MoveAside(epoch.status().message()); !moved.ok()) return moved;
    corrupt_ = false;
    epoch = OpenDatabase();
  }
  failing_ = !epoch.ok();
  if (failing_) db_.reset();
  return epoch;
}

absl::StatusOr<PermitEpoch> RocksDbStore::OpenDatabase() {
  std::error_code ignored;  // RocksDB will say
  std::filesystem::create_directory(path_, ignored);
  if (LostCurrent(path_)) return absl::DataLossError("there is no CURRENT file");
  rocksdb::DB* db = nullptr;
  const rocksdb::Status opened = rocksdb::DB::Open(DatabaseOptions(failing_), path_, &db);
  db_.reset(db);
  if (!opened.ok()) return FromRocksDb(opened);
  const absl::StatusOr<uint32_t> version = ReadSchema(*db_, path_);
  // NextEpoch writes that of a new one.
  if (!version.ok() && !absl::IsNotFound(version.status())) return version.status();
  return NextEpoch();
}

absl::StatusOr<PermitEpoch> RocksDbStore::NextEpoch() {
  PermitEpoch epoch;
  std::string bytes;
  const rocksdb::Status read = db_->Get(rocksdb::ReadOptions(), kEpochKey, &bytes);
  if (read.ok()) {
    const absl::StatusOr<PermitEpoch> last = DecodeEpoch(bytes);
    if (!last.ok()) return last.status();
    epoch = {last->secret, (last->number + 1) % kEpochs};
  } else if (read.IsNotFound()) {
    std::random_device random;
    epoch.secret = uint64_t{random()} << 32 | random();
  } else {
    return FromRocksDb(read);
  }
  rocksdb::WriteBatch batch;
  batch.Put(kSchemaKey, EncodeSchema(kSchemaVersion));
  batch.Put(kEpochKey, EncodeEpoch(epoch));
  rocksdb::WriteOptions options;
  options.sync = true;
  if (absl::Status written = FromRocksDb(db_->Write(options, &batch)); !written.ok()) {
    return written;
  }
  return epoch;
}

absl::Status RocksDbStore::MoveAside(absl::string_view why) {
  db_.reset();
  const std::string aside = absl::StrCat(
      path_, ".corrupt-",
      absl::FormatTime("%Y%m%dT%H%M%E3SZ", clock_->Now().wall.time(), absl::UTCTimeZone()));
  std::error_code error;
  std::filesystem::rename(path_, aside, error);
  if (error) {
    return absl::UnavailableError(
        absl::StrCat("cannot rename the corrupt ", path_, ": ", error.message()));
  }
  Log(LogLevel::kError, "store_corrupt", {{"path", path_}, {"moved_to", aside}, {"reason", why}});
  return absl::OkStatus();
}

absl::Status RocksDbStore::Scan(
    char kind, absl::FunctionRef<absl::Status(KeyView, absl::string_view)> record) {
  const std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator(ScanOptions()));
  const rocksdb::Slice prefix(&kind, 1);
  for (it->Seek(prefix); it->Valid() && it->key().starts_with(prefix); it->Next()) {
    const KeyView key = ParseKey(View(it->key()).substr(1));
    if (const absl::Status status = record(key, View(it->value())); !status.ok()) {
      Log(LogLevel::kError, "record_skipped",
          {{"kind", NameOfKind(kind)},
           {"service", key.service},
           {"operation", key.operation},
           {"reason", status.message()}});
    }
  }
  return FromRocksDb(it->status());
}

absl::Status RocksDbStore::Load(const StoreReader& reader) {
  if (db_ == nullptr) return absl::UnavailableError("the store is not open");
  absl::Status status = Scan(kSession, [&](const KeyView& key, absl::string_view bytes) {
    uint64_t session = 0;
    if (!absl::SimpleHexAtoi(key.service, &session)) {
      return absl::DataLossError("its key is not a session's name");
    }
    absl::StatusOr<SessionMark> decoded = DecodeSession(session, bytes);
    if (decoded.ok()) reader.session(*decoded);
    return decoded.status();
  });
  if (status.ok()) {
    status = Scan(kPolicy, [&](const KeyView& key, absl::string_view bytes) {
      absl::StatusOr<StoredPolicy> decoded = DecodePolicy(key, bytes);
      if (decoded.ok()) reader.policy(*std::move(decoded));
      return decoded.status();
    });
  }
  if (status.ok()) {
    status = Scan(kBreaker, [&](const KeyView& key, absl::string_view bytes) {
      absl::StatusOr<BreakerSnapshot> decoded = DecodeBreaker(key, bytes);
      if (decoded.ok()) reader.breaker(*std::move(decoded));
      return decoded.status();
    });
  }
  corrupt_ = absl::IsDataLoss(status);
  return status;
}

absl::Status RocksDbStore::Write(const StoreBatch& batch) {
  if (db_ == nullptr) return absl::UnavailableError("the store is not open");
  rocksdb::WriteBatch changes;
  for (const auto& [key, snapshot] : batch.breakers) {
    const std::string at = DatabaseKey(kBreaker, key);
    snapshot.has_value() ? changes.Put(at, EncodeBreaker(*snapshot)) : changes.Delete(at);
  }
  for (const auto& [key, policy] : batch.policies) {
    const std::string at = DatabaseKey(kPolicy, key);
    policy.has_value() ? changes.Put(at, EncodePolicy(*policy)) : changes.Delete(at);
  }
  for (const SessionMark& mark : batch.sessions) {
    changes.Put(SessionKey(mark.session), EncodeSession(mark));
  }
  for (const uint64_t session : batch.forgotten_sessions) changes.Delete(SessionKey(session));
  rocksdb::WriteOptions options;
  options.sync = durability_ == Durability::kDisk;
  absl::Status written = FromRocksDb(db_->Write(options, &changes));
  failing_ = !written.ok();
  if (failing_) db_.reset();  // nothing is written behind a gap
  return written;
}

absl::StatusOr<std::unique_ptr<Checkpoint>> RocksDbStore::MakeCheckpoint() {
  if (db_ == nullptr) return absl::UnavailableError("the store is not open");
  const std::string path =
      (std::filesystem::absolute(data_dir_) / kCheckpointFolder).lexically_normal();
  rocksdb::Checkpoint* maker = nullptr;
  rocksdb::Status made = rocksdb::Checkpoint::Create(db_.get(), &maker);
  const std::unique_ptr<rocksdb::Checkpoint> owned(maker);
  if (made.ok()) made = maker->CreateCheckpoint(path);  // flushes first
  if (!made.ok()) return FromRocksDb(made);
  return std::make_unique<Checkpoint>(path);
}

absl::StatusOr<size_t> CountBreakers(const std::string& path) {
  rocksdb::DB* opened = nullptr;
  const rocksdb::Status status =
      rocksdb::DB::OpenForReadOnly(DatabaseOptions(/*quiet=*/true), path, &opened);
  const std::unique_ptr<rocksdb::DB> db(opened);
  if (!status.ok()) return absl::DataLossError(status.ToString());
  if (const absl::StatusOr<uint32_t> version = ReadSchema(*db, path); !version.ok()) {
    return absl::IsNotFound(version.status())
               ? absl::DataLossError(absl::StrCat(path, " is no database of breakerd"))
               : version.status();
  }
  size_t count = 0;
  const std::unique_ptr<rocksdb::Iterator> it(db->NewIterator(ScanOptions()));
  const rocksdb::Slice prefix(&kBreaker, 1);
  for (it->Seek(prefix); it->Valid() && it->key().starts_with(prefix); it->Next()) ++count;
  if (!it->status().ok()) return FromRocksDb(it->status());
  return count;
}

absl::Status ForgetEpoch(const std::string& path) {
  rocksdb::Options options = DatabaseOptions(/*quiet=*/false);
  options.create_if_missing = false;
  rocksdb::DB* opened = nullptr;
  const rocksdb::Status status = rocksdb::DB::Open(options, path, &opened);
  const std::unique_ptr<rocksdb::DB> db(opened);
  if (!status.ok()) return FromRocksDb(status);
  rocksdb::WriteOptions write;
  write.sync = true;
  return FromRocksDb(db->Delete(write, kEpochKey));
}

}  // namespace breaker::server
