// Attributes, truncation, extended attributes, statfs, revalidation.
#include "proto/limits.h"
#include "tests/unit/master/master_rig.h"

namespace dfs::master {
namespace {

constexpr std::uint64_t kWindow = kExtentWindowBytes;

class OpAttributes : public MasterRig {
 protected:
  ErrorCode set_code(const SetAttributesRequest& request) { return client->change(request).code(); }
  Attributes set(const SetAttributesRequest& request) {
    const auto reply = client->change(request);
    EXPECT_TRUE(reply) << error_code_name(reply.code());
    return reply ? reply->attributes : Attributes{};
  }
  Attributes truncate(InodeId inode, std::uint64_t size_bytes) {
    SetAttributesRequest request = set_request(inode);
    request.size_bytes = size_bytes;
    return set(request);
  }
  // A file of `windows` windows, each covered by one extent of 1 MiB at its start.
  InodeId make_sparse_file(const std::string& name, std::uint64_t windows) {
    const InodeId file = client->make_file(name);
    EXPECT_TRUE(in_transaction([&](OpContext& context) -> Status {
      const ChunkId chunk{1};
      DFS_CHECK_OK(context.store.put_chunk({.chunk = chunk,
                                            .epoch = Epoch{1},
                                            .state = ChunkState::kSealed,
                                            .capacity_bytes = 0,
                                            .length_bytes = 1 << 26,
                                            .live_bytes = windows << 20,
                                            .policy = {},
                                            .owner = {}}));
      DFS_CHECK_OK(context.store.set_counter(Counter::kLiveBytes, windows << 20));
      for (std::uint64_t window = 0; window < windows; ++window) {
        const Extent extent{.file_offset = window * kWindow,
                            .length_bytes = 1 << 20,
                            .chunk = chunk,
                            .block_offset = 64,
                            .block_bytes = 1 << 20,
                            .payload_offset = 0};
        DFS_CHECK_OK(context.store.put_window(file, {.window = window, .extents = {extent}}));
      }
      auto row = context.store.inode(file);
      (*row)->attributes.size_bytes = windows * kWindow;
      (*row)->attributes.used_bytes = windows << 20;
      return context.store.put_inode(**row);
    }));
    return file;
  }
  std::size_t window_count(InodeId inode) {
    return store().windows(inode, 0, UINT64_MAX, 10'000)->size();
  }
  std::uint64_t live_bytes() { return (*store().chunk(ChunkId{1}))->live_bytes; }
};

using OpTruncate = OpAttributes;
using OpXattr = OpAttributes;

TEST_F(OpAttributes, a_read_moves_atime_and_not_ctime) {
  const InodeId file = client->make_file("a");
  const Attributes before = client->attributes(file);
  run_for(std::chrono::seconds(1));
  SetAttributesRequest request = set_request(file);
  request.was_read = true;
  Attributes expected = before;
  expected.atime = set(request).atime;
  EXPECT_GT(expected.atime, before.atime);
  EXPECT_EQ(client->attributes(file), expected);
  request = set_request(file);
  request.was_read = true;
  request.mode = 0600;
  EXPECT_GT(set(request).ctime, before.ctime);
}

TEST_F(OpAttributes, each_member_that_is_set_is_changed) {
  const InodeId file = client->make_file("a");
  const Attributes before = client->attributes(file);
  run_for(std::chrono::seconds(1));
  SetAttributesRequest request = set_request(file);
  request.mode = 04711;
  EXPECT_EQ(set(request).mode, kModeRegular | 04711);
  request = set_request(file);
  request.uid = 10;
  EXPECT_EQ(set(request).uid, 10u);
  request = set_request(file);
  request.gid = 20;
  const Attributes after = set(request);
  EXPECT_EQ(after.gid, 20u);
  EXPECT_EQ(after.uid, 10u);
  EXPECT_EQ(after.mtime, before.mtime);
  EXPECT_EQ(after.atime, before.atime);
  EXPECT_GT(after.ctime, before.ctime);
  EXPECT_EQ(after.data_version, before.data_version);
  EXPECT_EQ(client->attributes(file), after);
}

TEST_F(OpAttributes, times_are_the_callers_or_the_masters) {
  const InodeId file = client->make_file("a");
  SetAttributesRequest request = set_request(file);
  request.atime = Timestamp{.seconds = -5'000'000'000, .nanoseconds = 1};
  request.mtime = Timestamp{.seconds = 50'000'000'000, .nanoseconds = 999'999'999};
  Attributes after = set(request);
  EXPECT_EQ(after.atime, *request.atime);
  EXPECT_EQ(after.mtime, *request.mtime);
  request = set_request(file);
  request.atime_now = true;
  request.mtime_now = true;
  after = set(request);
  EXPECT_EQ(after.atime, after.ctime);
  EXPECT_EQ(after.mtime, after.ctime);
}

TEST_F(OpAttributes, set_id_bits_are_dropped_as_on_a_write) {
  const InodeId file = client->make_file("a");
  SetAttributesRequest mode = set_request(file);
  SetAttributesRequest clear = set_request(file);
  clear.clear_set_id = true;
  mode.mode = 06755;
  set(mode);
  EXPECT_EQ(set(clear).mode, kModeRegular | 0755);
  mode.mode = 06745;  // not executable by the group: the set-gid bit stays
  set(mode);
  EXPECT_EQ(set(clear).mode, kModeRegular | 02745);
}

TEST_F(OpAttributes, impossible_values_are_refused) {
  const InodeId file = client->make_file("a");
  SetAttributesRequest request = set_request(InodeId{999});
  EXPECT_EQ(set_code(request), ErrorCode::kStale);
  EXPECT_EQ(client->ask(GetAttributesRequest{.inode = InodeId{999}}).code(), ErrorCode::kStale);
  request = set_request(file);
  request.mode = kModeDirectory | 0755;
  EXPECT_EQ(set_code(request), ErrorCode::kInvalidArgument);
  request = set_request(file);
  request.mtime = Timestamp{.seconds = 0, .nanoseconds = 1'000'000'000};
  EXPECT_EQ(set_code(request), ErrorCode::kBadMessage);
  request = set_request(file);
  request.size_bytes = kFileBytesMax + 1;
  EXPECT_EQ(set_code(request), ErrorCode::kFileTooBig);
  request.size_bytes = kFileBytesMax;
  EXPECT_EQ(set_code(request), ErrorCode::kOk);
  request = set_request(kRootInode);
  request.size_bytes = 0;
  EXPECT_EQ(set_code(request), ErrorCode::kIsDirectory);
  const auto fifo = client->change(create_request(kRootInode, "p", kModeFifo | 0600));
  request.inode = fifo->attributes.inode;
  EXPECT_EQ(set_code(request), ErrorCode::kInvalidArgument);
}

TEST_F(OpTruncate, a_new_size_is_a_new_version_and_a_new_mtime) {
  const InodeId file = client->make_file("a");
  const Attributes before = client->attributes(file);
  run_for(std::chrono::seconds(1));
  SetAttributesRequest request = set_request(file);
  request.size_bytes = 1'000'000;
  const auto reply = client->change(request);
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->data_version_before, before.data_version);
  const Attributes grown = reply->attributes;
  EXPECT_EQ(grown.size_bytes, 1'000'000u);
  EXPECT_EQ(grown.used_bytes, 0u);
  EXPECT_GT(grown.data_version, before.data_version);
  EXPECT_GT(grown.mtime, before.mtime);
  const Attributes same = truncate(file, 1'000'000);
  EXPECT_GT(same.data_version, grown.data_version);
}

TEST_F(OpTruncate, cuts_the_window_in_which_the_end_lies) {
  const InodeId file = make_sparse_file("a", 3);
  const Attributes after = truncate(file, kWindow + 1000);
  EXPECT_EQ(after.used_bytes, (1u << 20) + 1000);
  EXPECT_EQ(window_count(file), 2u);
  const auto window = store().windows(file, 1, 1, 1);
  ASSERT_TRUE(window);
  EXPECT_EQ(window->front().extents.front().length_bytes, 1000u);
  EXPECT_EQ(live_bytes(), (1u << 20) + 1000);
}

TEST_F(OpTruncate, at_a_windows_start_leaves_the_windows_before_whole) {
  const InodeId file = make_sparse_file("a", 3);
  EXPECT_EQ(truncate(file, 2 * kWindow).used_bytes, 2u << 20);
  EXPECT_EQ(window_count(file), 2u);
  EXPECT_EQ(truncate(file, 0).used_bytes, 0u);
  EXPECT_EQ(window_count(file), 0u);
}

TEST_F(OpTruncate, many_windows_are_freed_in_the_background) {
  const InodeId file = make_sparse_file("a", 2000);
  const Attributes after = truncate(file, 1000);
  EXPECT_EQ(after.used_bytes, 1000u);
  EXPECT_EQ(window_count(file), 1u);
  EXPECT_GT(live_bytes(), 1u << 20);
  EXPECT_EQ(*store().orphan_count(), 1u);
  run_for(std::chrono::seconds(20));
  EXPECT_EQ(*store().orphan_count(), 0u);
  EXPECT_EQ(live_bytes(), 1000u);
  EXPECT_EQ(*store().counter(Counter::kInodes), 2u);
  // What grows again reads as zeros: nothing of the old contents is left.
  EXPECT_EQ(truncate(file, 100 * kWindow).used_bytes, 1000u);
  EXPECT_EQ(window_count(file), 1u);
}

TEST_F(OpAttributes, the_extents_of_a_small_file_come_with_its_name) {
  make_sparse_file("small", 1);
  make_sparse_file("large", 2);
  const InodeId pieces = make_sparse_file("pieces", 1);
  EXPECT_TRUE(in_transaction([&](OpContext& context) -> Status {
    WindowRow window{.window = 0, .extents = {}};
    for (std::uint32_t piece = 0; piece <= kLookupExtentsMax; ++piece) {
      window.extents.push_back({.file_offset = piece * 100u,
                                .length_bytes = 50,
                                .chunk = ChunkId{1},
                                .block_offset = 64,
                                .block_bytes = 1 << 20,
                                .payload_offset = piece * 50});
    }
    return context.store.put_window(pieces, window);
  }));
  const auto look_up = [&](const std::string& name) {
    return *client->ask(LookupRequest{.parent = kRootInode, .name = name});
  };
  EXPECT_TRUE(look_up("small").has_extents);
  ASSERT_EQ(look_up("small").extents.size(), 1u);
  EXPECT_EQ(look_up("small").extents.front().length_bytes, 1u << 20);
  EXPECT_EQ(look_up("small").locations.size(), 1u);
  EXPECT_FALSE(look_up("large").has_extents);
  EXPECT_FALSE(look_up("pieces").has_extents);
  EXPECT_TRUE(look_up("pieces").extents.empty());
}

TEST_F(OpXattr, are_set_got_listed_and_removed) {
  const InodeId file = client->make_file("a");
  const auto put = [&](const std::string& name, const std::string& value, XattrMode mode) {
    return client
        ->change(SetXattrRequest{
            .inode = file, .name = name, .value = value, .mode = static_cast<std::uint8_t>(mode)})
        .code();
  };
  EXPECT_EQ(put("user.b", std::string("\0\1", 2), XattrMode::kSet), ErrorCode::kOk);
  EXPECT_EQ(put("user.a", "", XattrMode::kCreateOnly), ErrorCode::kOk);
  EXPECT_EQ(put("user.a", "x", XattrMode::kCreateOnly), ErrorCode::kExists);
  EXPECT_EQ(put("user.c", "x", XattrMode::kReplaceOnly), ErrorCode::kNoAttribute);
  EXPECT_EQ(put("user.a", "new", XattrMode::kReplaceOnly), ErrorCode::kOk);
  const auto names = client->ask(ListXattrsRequest{.inode = file});
  ASSERT_TRUE(names);
  EXPECT_EQ(names->names, (std::vector<std::string>{"user.a", "user.b"}));
  const auto value = client->ask(GetXattrRequest{.inode = file, .name = "user.b"});
  ASSERT_TRUE(value);
  EXPECT_EQ(value->value, std::string("\0\1", 2));
  EXPECT_TRUE(client->change(RemoveXattrRequest{.inode = file, .name = "user.b"}));
  EXPECT_EQ(client->change(RemoveXattrRequest{.inode = file, .name = "user.b"}).code(),
            ErrorCode::kNoAttribute);
  EXPECT_EQ(client->ask(GetXattrRequest{.inode = file, .name = "user.b"}).code(),
            ErrorCode::kNoAttribute);
}

TEST_F(OpXattr, other_namespaces_are_not_kept) {
  const InodeId file = client->make_file("a");
  for (const char* name : {"a", "user.", "system.nfs4_acl", "dfs.client_pid"}) {
    const SetXattrRequest request{.inode = file, .name = name, .value = ""};
    EXPECT_EQ(client->change(request).code(), ErrorCode::kNotSupported) << name;
  }
}

TEST_F(OpXattr, are_bounded) {
  const InodeId file = client->make_file("a");
  SetXattrRequest request{.inode = file, .name = "", .value = ""};
  EXPECT_EQ(client->change(request).code(), ErrorCode::kBufferTooSmall);
  request.name = "user." + std::string(kXattrNameBytesMax - 4, 'n');
  EXPECT_EQ(client->change(request).code(), ErrorCode::kBufferTooSmall);
  request.name.pop_back();
  request.value = std::string(kXattrValueBytesMax + 1, 'v');
  EXPECT_EQ(client->change(request).code(), ErrorCode::kArgumentTooBig);
  request.value.pop_back();
  EXPECT_EQ(client->change(request).code(), ErrorCode::kOk);
  EXPECT_EQ(client->ask(GetXattrRequest{.inode = file, .name = request.name})->value,
            request.value);
  request.mode = kXattrModeMax + 1;
  EXPECT_EQ(client->change(request).code(), ErrorCode::kInvalidArgument);
  request = {.inode = InodeId{999}, .name = "user.x", .value = ""};
  EXPECT_EQ(client->change(request).code(), ErrorCode::kStale);
  request.inode = file;
  ErrorCode code = ErrorCode::kOk;
  for (int index = 0; index < 300 && code == ErrorCode::kOk; ++index) {
    request.name =
        "user." + std::to_string(1000 + index) + std::string(kXattrNameBytesMax - 9, 'n');
    code = client->change(request).code();
  }
  EXPECT_EQ(code, ErrorCode::kNoSpace);
}

TEST_F(OpAttributes, statfs_counts_inodes) {
  client->make_file("a");
  client->make_directory("d");
  const auto reply = client->ask(StatFilesystemRequest{.inode = kRootInode});
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->inodes_used, 3u);
  EXPECT_GT(reply->inodes_max, reply->inodes_used);
  EXPECT_EQ(client->ask(StatFilesystemRequest{.inode = InodeId{999}}).code(), ErrorCode::kStale);
}

}  // namespace
}  // namespace dfs::master
