// Seeking in, allocating, punching and sharing ranges of files.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/unit/master/chunk_rig.h"

namespace dfs::master {
namespace {

constexpr std::uint64_t kMiB = 1u << 20;

class Ranges : public ChunkRig {
 protected:
  void SetUp() override {
    ChunkRig::SetUp();
    add_servers(2);
    chunk_ = open_chunk();
    file_ = client->make_file("a");
  }
  // "data 10" or "no_data".
  std::string seek(SeekKind kind, std::uint64_t offset) {
    SeekRequest request{file_, offset, static_cast<std::uint8_t>(kind)};
    auto reply = client->ask(request);
    while (reply && !reply->found) {
      request.offset = reply->offset;
      reply = client->ask(request);
    }
    return reply ? std::to_string(reply->offset) : error_code_name(reply.code());
  }
  std::string data(std::uint64_t offset) { return seek(SeekKind::kData, offset); }
  std::string hole(std::uint64_t offset) { return seek(SeekKind::kHole, offset); }

  Result<AttributesReply> allocate(std::uint64_t offset, std::uint64_t length, bool remove = false,
                                   bool keep_size = false) {
    return client->change(AllocateRequest{file_, offset, length, remove, keep_size});
  }
  Result<CloneRangeReply> clone(InodeId from, std::uint64_t offset, InodeId to, std::uint64_t at,
                                std::uint64_t length) {
    return client->change(CloneRangeRequest{from, offset, to, at, length});
  }
  std::vector<Extent> extents(InodeId inode) {
    GetExtentsRequest request;
    request.inode = inode;
    request.length_bytes = std::uint64_t{1} << 40;
    const auto reply = client->ask(request);
    EXPECT_TRUE(reply);
    return reply ? reply->extents : std::vector<Extent>{};
  }
  std::uint64_t live_bytes() { return row(chunk_.chunk)->live_bytes; }

  OpenChunkReply chunk_;
  InodeId file_;
};

TEST_F(Ranges, data_and_holes_are_found_across_windows) {
  write(chunk_, file_, 4096, 4096);
  write(chunk_, file_, 50 * kMiB, 4096);
  EXPECT_EQ(data(0), "4096");
  EXPECT_EQ(data(5000), "5000");
  EXPECT_EQ(data(8192), std::to_string(50 * kMiB));
  EXPECT_EQ(hole(0), "0");
  EXPECT_EQ(hole(4096), "8192");
  EXPECT_EQ(hole(50 * kMiB), std::to_string(50 * kMiB + 4096));
  EXPECT_EQ(data(50 * kMiB + 4096), "no_data");
  EXPECT_EQ(hole(50 * kMiB + 4096), "no_data");
  ASSERT_TRUE(allocate(0, 60 * kMiB));
  EXPECT_EQ(data(50 * kMiB + 4096), "no_data");
  EXPECT_EQ(hole(55 * kMiB), std::to_string(55 * kMiB));
}

TEST_F(Ranges, a_file_without_holes_ends_in_one) {
  write(chunk_, file_, 0, kMiB);
  EXPECT_EQ(hole(0), std::to_string(kMiB));
  EXPECT_EQ(data(kMiB - 1), std::to_string(kMiB - 1));
}

// As many windows as one answer looks at, behind a hole, and the file ends with them.
TEST_F(Ranges, a_long_search_that_ends_with_the_file_finds_its_end) {
  constexpr std::uint64_t kBegin = kExtentWindowBytes;
  constexpr std::uint64_t kLength = 1024 * std::uint64_t{kExtentWindowBytes};
  for (std::uint64_t at = 0; at < kExtentWindowBytes; at += kMiB) {
    write(chunk_, file_, kBegin + at, kMiB);
  }
  for (std::uint64_t done = kExtentWindowBytes; done < kLength;) {
    const std::uint64_t part = std::min(done, kRangeBytesMax);
    ASSERT_TRUE(clone(file_, kBegin, file_, kBegin + done, part));
    done += part;
  }
  EXPECT_EQ(hole(kBegin), std::to_string(kBegin + kLength));
}

TEST_F(Ranges, seeking_asks_for_a_regular_file_and_a_known_kind) {
  EXPECT_EQ(client->ask(SeekRequest{kRootInode, 0, 0}).code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(client->ask(SeekRequest{InodeId{9999}, 0, 0}).code(), ErrorCode::kStale);
  EXPECT_EQ(client->ask(SeekRequest{file_, 0, 2}).code(), ErrorCode::kInvalidArgument);
}

TEST_F(Ranges, allocating_grows_the_file_unless_asked_not_to) {
  const auto grown = allocate(100, 1000);
  ASSERT_TRUE(grown);
  EXPECT_EQ(grown->attributes.size_bytes, 1100u);
  EXPECT_EQ(grown->attributes.used_bytes, 0u);
  EXPECT_EQ(allocate(0, 5000, false, true)->attributes.size_bytes, 1100u);
  EXPECT_EQ(allocate(0, 10)->attributes.size_bytes, 1100u);
  EXPECT_EQ(allocate(0, 0).code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(allocate(kFileBytesMax, 1).code(), ErrorCode::kFileTooBig);
  EXPECT_EQ(allocate(0, kRangeBytesMax + 1, true).code(), ErrorCode::kTooLarge);
}

TEST_F(Ranges, punching_frees_what_was_there_and_nothing_else) {
  write(chunk_, file_, 0, kMiB);
  write(chunk_, file_, 5 * kMiB, kMiB);
  const auto punched = allocate(kMiB / 2, 5 * kMiB, true, true);
  ASSERT_TRUE(punched);
  EXPECT_EQ(punched->attributes.size_bytes, 6 * kMiB);
  EXPECT_EQ(punched->attributes.used_bytes, kMiB);
  EXPECT_EQ(live_bytes(), kMiB);
  EXPECT_EQ(hole(0), std::to_string(kMiB / 2));
  EXPECT_EQ(data(kMiB / 2), std::to_string(5 * kMiB + kMiB / 2));
  EXPECT_TRUE(problems().empty());
  // Zeroing behind the end makes the file longer.
  EXPECT_EQ(allocate(5 * kMiB, 3 * kMiB, true)->attributes.size_bytes, 8 * kMiB);
  EXPECT_EQ(live_bytes(), kMiB / 2);
}

TEST_F(Ranges, a_clone_shares_the_bytes_and_outlives_its_source) {
  write(chunk_, file_, 0, kMiB);
  write(chunk_, file_, 5 * kMiB, kMiB);
  const InodeId copy = client->make_file("b");
  const auto cloned = clone(file_, 0, copy, 0, kRangeBytesMax);
  ASSERT_TRUE(cloned);
  EXPECT_EQ(cloned->length_bytes, 6 * kMiB);
  EXPECT_EQ(cloned->attributes, client->attributes(copy));
  EXPECT_EQ(cloned->attributes.size_bytes, 6 * kMiB);
  EXPECT_EQ(cloned->attributes.used_bytes, 2 * kMiB);
  EXPECT_EQ(extents(copy), extents(file_));
  EXPECT_EQ(live_bytes(), 4 * kMiB);
  EXPECT_TRUE(problems().empty());

  seal(chunk_.chunk);
  EXPECT_TRUE(wait_until_sealed(chunk_.chunk));
  EXPECT_EQ(client->unlink("a"), ErrorCode::kOk);
  run_for(std::chrono::seconds(10));
  ASSERT_TRUE(row(chunk_.chunk));
  EXPECT_EQ(live_bytes(), 2 * kMiB);
  EXPECT_TRUE(problems().empty());
  EXPECT_EQ(client->unlink("b"), ErrorCode::kOk);
  EXPECT_TRUE(wait_until_gone(chunk_.chunk));
}

TEST_F(Ranges, a_clone_may_begin_and_end_anywhere_and_replaces_what_was_there) {
  write(chunk_, file_, 4 * kMiB - 1000, 3000);
  const InodeId copy = client->make_file("b");
  write(chunk_, copy, 0, 10'000);
  ASSERT_TRUE(clone(file_, 4 * kMiB - 500, copy, 101, 2000));
  const std::vector<Extent> pieces = extents(copy);
  ASSERT_EQ(pieces.size(), 3u);
  EXPECT_EQ(pieces[0].end(), 101u);
  EXPECT_EQ(pieces[1].file_offset, 101u);
  EXPECT_EQ(pieces[1].length_bytes, 2000u);
  EXPECT_EQ(pieces[1].payload_offset, 500u);
  EXPECT_EQ(pieces[2].file_offset, 2101u);
  EXPECT_EQ(client->attributes(copy).used_bytes, 10'000u);
  // A hole is copied as a hole.
  ASSERT_TRUE(clone(file_, 0, copy, 0, 5000));
  EXPECT_EQ(client->attributes(copy).used_bytes, 5000u);
  EXPECT_TRUE(problems().empty());
}

TEST_F(Ranges, clones_that_cannot_be_are_refused) {
  write(chunk_, file_, 0, 10'000);
  EXPECT_EQ(clone(file_, 0, file_, 5000, 6000).code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(clone(file_, 0, file_, 20'000, 6000)->length_bytes, 6000u);
  EXPECT_EQ(clone(file_, 0, kRootInode, 0, 10).code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(clone(InodeId{9999}, 0, file_, 0, 10).code(), ErrorCode::kStale);
  EXPECT_EQ(clone(file_, 0, file_, kFileBytesMax, 10).code(), ErrorCode::kFileTooBig);
  EXPECT_EQ(clone(file_, 0, file_, 0, kRangeBytesMax + 1).code(), ErrorCode::kTooLarge);
  EXPECT_EQ(clone(file_, 100'000, file_, 0, 10)->length_bytes, 0u);
}

}  // namespace
}  // namespace dfs::master
