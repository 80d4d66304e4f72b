#include "server/backup_folder.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/file_size_limit.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace breaker::server {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string Digest(const std::string& bytes) {
  Sha256 sha256;
  sha256.Update(bytes);
  return sha256.Digest();
}

v1::BackupChunk Piece(const std::string& file, const std::string& data) {
  v1::BackupChunk chunk;
  chunk.set_file(file);
  chunk.set_data(data);
  return chunk;
}

v1::BackupChunk Whole(const std::string& file, const std::string& data) {
  v1::BackupChunk chunk = Piece(file, data);
  chunk.mutable_end_of_file()->set_size(data.size());
  chunk.mutable_end_of_file()->set_sha256(Digest(data));
  return chunk;
}

v1::BackupChunk Summary(int files, int bytes) {
  v1::BackupChunk chunk;
  chunk.mutable_summary()->set_files(files);
  chunk.mutable_summary()->set_bytes(bytes);
  return chunk;
}

class BackupFolderTest : public ::testing::Test {
 protected:
  // Writes these, if all are taken.
  absl::Status Write(const std::vector<v1::BackupChunk>& chunks) {
    const auto writer = BackupFolderWriter::Begin(folder_);
    if (!writer.ok()) return writer.status();
    for (const v1::BackupChunk& chunk : chunks) {
      if (absl::Status taken = (*writer)->Take(chunk); !taken.ok()) return taken;
    }
    return (*writer)->End().status();
  }
  void WriteGood() {
    ASSERT_THAT(Write({Piece("CURRENT", "MANI"), Whole2("CURRENT", "MANI", "FEST"),
                       Whole("000001.sst", "table"), Summary(2, 13)}),
                IsOk());
  }
  // The last piece of a file that began with `before`.
  static v1::BackupChunk Whole2(const std::string& file, const std::string& before,
                                const std::string& data) {
    v1::BackupChunk chunk = Piece(file, data);
    chunk.mutable_end_of_file()->set_size(before.size() + data.size());
    chunk.mutable_end_of_file()->set_sha256(Digest(before + data));
    return chunk;
  }

  // What is in the folder that the backup is to be in.
  std::vector<std::string> Beside() {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(dir_.path())) {
      names.push_back(entry.path().filename());
    }
    return names;
  }

  std::string ReadFile(const std::string& name) {
    std::ifstream file(folder_ + "/" + name);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void WriteFile(const std::string& name, const std::string& text) {
    std::ofstream(folder_ + "/" + name) << text;
  }
  void ExpectNotWhole(const std::string& why) {
    EXPECT_THAT(ReadBackupFolder(folder_),
                StatusIs(absl::StatusCode::kFailedPrecondition,
                         HasSubstr(folder_ + " is not a whole backup: " + why)));
  }

  const TempDir dir_;
  const std::string folder_ = dir_ / "backup";
};

TEST_F(BackupFolderTest, WhatIsWrittenIsReadAgain) {
  WriteGood();
  EXPECT_THAT(Beside(), ElementsAre("backup"));
  EXPECT_EQ(ReadFile("CURRENT"), "MANIFEST");
  const auto contents = ReadBackupFolder(folder_);
  ASSERT_THAT(contents, IsOk());
  EXPECT_EQ(contents->summary.bytes(), 13);
  EXPECT_THAT(contents->checksums,
              ElementsAre(std::pair("000001.sst", absl::BytesToHexString(Digest("table"))),
                          std::pair("CURRENT", absl::BytesToHexString(Digest("MANIFEST")))));
}

TEST_F(BackupFolderTest, WritesToAFolderThatIsEmptyAndToNoOther) {
  fs::create_directory(folder_);
  WriteGood();
  EXPECT_THAT(Write({}), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("new folder")));
  EXPECT_EQ(ReadFile("CURRENT"), "MANIFEST");
}

TEST_F(BackupFolderTest, NamesThatLeadElsewhereAreRefused) {
  for (const std::string name : {"", ".", "..", "../x", "/x", "a/b", ".hidden", "a b", "a\nb",
                                 "backup.json", "SHA256SUMS"}) {
    EXPECT_THAT(Write({Whole(name, "data"), Summary(1, 4)}),
                StatusIs(absl::StatusCode::kDataLoss, HasSubstr("no name that a backup may have")))
        << name;
    EXPECT_FALSE(IsBackupFileName(name));
  }
  EXPECT_FALSE(IsBackupFileName(std::string(256, 'a')));
  EXPECT_FALSE(IsBackupFileName(std::string("a\0b", 3)));
  EXPECT_THAT(Beside(), IsEmpty());
}

TEST_F(BackupFolderTest, WhatIsNotWholeLeavesNothing) {
  const auto lost = [](const char* why) {
    return StatusIs(absl::StatusCode::kDataLoss, HasSubstr(why));
  };
  EXPECT_THAT(Write({}), lost("no end"));
  EXPECT_THAT(Write({Whole("a", "x")}), lost("no end"));
  EXPECT_THAT(Write({Piece("a", "x"), Summary(1, 1)}), lost("file a has no end"));
  EXPECT_THAT(Write({Piece("a", "x"), Whole("b", "x")}), lost("file a has no end"));
  EXPECT_THAT(Write({Piece("a", "x"), Whole("a", "x")}), lost("otherwise than it was sent"));
  EXPECT_THAT(Write({Whole("a", "x"), Whole("a", "x")}), lost("file a twice"));
  EXPECT_THAT(Write({Whole("a", "x"), Summary(2, 1)}), lost("2 files of 1 bytes"));
  EXPECT_THAT(Write({Whole("a", "x"), Summary(1, 2)}), lost("1 files of 2 bytes"));
  EXPECT_THAT(Write({Whole("a", "x"), Summary(1, 1), Whole("b", "x")}), lost("after its summary"));
  v1::BackupChunk flipped = Whole("a", "x");
  flipped.set_data("y");
  EXPECT_THAT(Write({flipped, Summary(1, 1)}), lost("otherwise than it was sent"));
  EXPECT_THAT(Beside(), IsEmpty());
}

TEST_F(BackupFolderTest, FullDiskLeavesNothing) {
  const FileSizeLimit limit(1000);
  EXPECT_THAT(Write({Whole("a", std::string(5000, 'x')), Summary(1, 5000)}),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("cannot write ")));
  EXPECT_THAT(Beside(), IsEmpty());
}

TEST_F(BackupFolderTest, FolderWithoutChecksumsIsNoBackup) {
  ExpectNotWhole("it has no SHA256SUMS");
  WriteGood();
  fs::remove(folder_ + "/SHA256SUMS");
  ExpectNotWhole("it has no SHA256SUMS");
}

TEST_F(BackupFolderTest, WhatCannotBeReadIsNotTakenForWhatIsNotThere) {
  std::ofstream(folder_) << "a file";
  EXPECT_THAT(ReadBackupFolder(folder_),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       "cannot read " + folder_ + "/SHA256SUMS: Not a directory"));
}

TEST_F(BackupFolderTest, FilesThatAreMissingOrForeignAreNamed) {
  WriteGood();
  WriteFile("000002.log", "");
  ExpectNotWhole("it holds 000002.log, which is no file of the backup");
  fs::remove(folder_ + "/000002.log");
  fs::rename(folder_ + "/CURRENT", dir_ / "elsewhere");
  ExpectNotWhole("it lacks CURRENT");
  fs::create_symlink(dir_ / "elsewhere", folder_ + "/CURRENT");
  ExpectNotWhole("it holds CURRENT, which is no file of the backup");
}

TEST_F(BackupFolderTest, SummaryMustBeAsItWasWritten) {
  WriteGood();
  std::string json = ReadFile("backup.json");
  json[json.find("13")] = '2';
  WriteFile("backup.json", json);
  ExpectNotWhole("backup.json is not what was written");
}

TEST_F(BackupFolderTest, ChecksumsMustBeAsTheyWereWritten) {
  WriteGood();
  const std::string good = ReadFile("SHA256SUMS");
  WriteFile("SHA256SUMS", good.substr(0, good.size() - 1));
  ExpectNotWhole("SHA256SUMS is cut off");
  WriteFile("SHA256SUMS", good.substr(good.find('\n') + 1));
  ExpectNotWhole("it holds 000001.sst, which is no file of the backup");
  WriteFile("SHA256SUMS", good.substr(0, good.find('\n') + 1) + good);
  ExpectNotWhole("SHA256SUMS names 000001.sst twice");
  WriteFile("SHA256SUMS", good + std::string(64, '0') + "  ../../etc/passwd\n");
  ExpectNotWhole("SHA256SUMS has the line ");
  WriteFile("SHA256SUMS", "x" + good.substr(1));
  ExpectNotWhole("SHA256SUMS has the line ");
  WriteFile("SHA256SUMS", "");
  ExpectNotWhole("it holds ");
}

}  // namespace
}  // namespace breaker::server
