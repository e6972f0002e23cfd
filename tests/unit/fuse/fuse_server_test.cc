// The handshake, lookup counts, files, interruption.
#include "fuse-client/fuse/fuse_server.h"

#include <cerrno>

#include "tests/unit/fuse/fuse_rig.h"

namespace dfs::fuse {
namespace {

constexpr std::uint64_t kRoot = FUSE_ROOT_ID;

class FuseServerTest : public FuseRig {
 protected:
  void SetUp() override { start(); }
  std::uint64_t lookups(std::uint64_t node) {
    return server->lookup_count(server->from_kernel(node));
  }
};

TEST_F(FuseServerTest, handshake_wants_what_the_adapter_relies_on) {
  EXPECT_EQ(negotiated.major, static_cast<std::uint32_t>(FUSE_KERNEL_VERSION));
  EXPECT_EQ(negotiated.max_write, server->reader().request_bytes_max());
  EXPECT_GE(negotiated.max_pages, server->reader().request_bytes_max() / 4096);
  EXPECT_EQ(negotiated.flags & FUSE_AUTO_INVAL_DATA, 0u);
  EXPECT_EQ(negotiated.flags & FUSE_HANDLE_KILLPRIV, 0u);
  EXPECT_EQ(negotiated.flags & FUSE_WRITEBACK_CACHE, 0u);
  EXPECT_NE(negotiated.flags & FUSE_POSIX_LOCKS, 0u);
  EXPECT_NE(negotiated.flags & FUSE_FLOCK_LOCKS, 0u);
  EXPECT_NE(negotiated.flags & FUSE_EXPLICIT_INVAL_DATA, 0u);
  EXPECT_NE(negotiated.flags & FUSE_ATOMIC_O_TRUNC, 0u);
  EXPECT_NE(negotiated.flags & FUSE_DO_READDIRPLUS, 0u);
  EXPECT_NE(negotiated.flags & FUSE_BIG_WRITES, 0u);
}

TEST_F(FuseServerTest, lookups_are_counted_until_forgotten) {
  const std::uint64_t node = make_directory(kRoot, "d");
  EXPECT_EQ(lookups(node), 1u);
  EXPECT_EQ(lookup(kRoot, "d").nodeid, node);
  EXPECT_EQ(lookup(kRoot, "d").nodeid, node);
  EXPECT_EQ(lookups(node), 3u);
  forget(node, 2);
  EXPECT_EQ(lookups(node), 1u);
  EXPECT_EQ(server->known_inodes(), 1u);
  forget(node, 1);
  EXPECT_EQ(lookups(node), 0u);
  EXPECT_EQ(server->known_inodes(), 0u);
}

TEST_F(FuseServerTest, many_are_forgotten_at_once) {
  std::string forgets;
  for (int i = 0; i < 10; ++i) {
    fuse_forget_one one{};
    one.nodeid = make_directory(kRoot, "d" + std::to_string(i));
    one.nlookup = 1;
    forgets += raw(one);
  }
  EXPECT_EQ(server->known_inodes(), 10u);
  fuse_batch_forget_in in{};
  in.count = 10;
  kernel->send(FUSE_BATCH_FORGET, 0, raw(in) + forgets);
  attributes(kRoot);
  EXPECT_EQ(server->known_inodes(), 0u);
}

TEST_F(FuseServerTest, forgetting_too_much_or_the_unknown_does_no_harm) {
  const std::uint64_t node = make_directory(kRoot, "d");
  forget(node, 100);
  forget(node, 1);
  forget(999, 1);
  EXPECT_EQ(server->known_inodes(), 0u);
  EXPECT_EQ(lookup(kRoot, "d").nodeid, node);
}

TEST_F(FuseServerTest, absent_name_is_nothing_the_kernel_may_keep) {
  EXPECT_EQ(error_of(FUSE_LOOKUP, kRoot, std::string("none") + '\0'), ENOENT);
  EXPECT_EQ(server->known_inodes(), 0u);
}

TEST_F(FuseServerTest, what_is_leased_may_be_kept_for_the_rest_of_the_term) {
  run_for(std::chrono::seconds(1));  // the session is in order
  const std::uint64_t node = make_directory(kRoot, "d");
  const fuse_entry_out entry = lookup(kRoot, "d");
  EXPECT_EQ(entry.nodeid, node);
  EXPECT_LT(entry.entry_valid, 20u);  // the session time-out in simulations
  EXPECT_GT(entry.entry_valid, 5u);
  EXPECT_EQ(entry.attr_valid, entry.entry_valid);
}

TEST_F(FuseServerTest, answer_that_cannot_be_delivered_gives_the_lookup_back) {
  const std::uint64_t node = make_directory(kRoot, "d");
  forget(node, 1);
  const Opened file = create(kRoot, "f");
  release(file);
  forget(file.inode, 1);
  ASSERT_EQ(server->known_inodes(), 0u);
  const std::uint64_t directory = open_directory(kRoot);
  fuse_read_in listing{};
  listing.fh = directory;
  listing.size = 4096;
  kernel->send(FUSE_LOOKUP, kRoot, terminated("d"));
  kernel->send(FUSE_READDIRPLUS, kRoot, raw(listing));
  fuse_create_in creating{};
  creating.flags = O_RDWR | O_CREAT;
  creating.mode = S_IFREG | 0644;
  kernel->send(FUSE_CREATE, kRoot, raw(creating) + terminated("g"));
  server->process();
  kernel->close();
  run_for(std::chrono::seconds(2));
  EXPECT_EQ(server->known_inodes(), 0u);
}

TEST_F(FuseServerTest, what_was_written_is_read_and_kept) {
  const Opened file = create(kRoot, "f");
  EXPECT_EQ(attributes(file.inode).uid, kernel->uid);
  const std::string text(100'000, 'x');
  EXPECT_EQ(write(file, 0, text), 0);
  EXPECT_EQ(write(file, text.size(), "end"), 0);
  EXPECT_EQ(attributes(file.inode).size, text.size() + 3);
  EXPECT_EQ(read(file, text.size() - 2, 100), "xxend");
  fuse_flush_in flush{};
  flush.fh = file.handle;
  EXPECT_EQ(error_of(FUSE_FLUSH, file.inode, raw(flush)), 0);
  fuse_fsync_in sync{};
  sync.fh = file.handle;
  EXPECT_EQ(error_of(FUSE_FSYNC, file.inode, raw(sync)), 0);
  release(file);
  const Opened again = open(lookup(kRoot, "f").nodeid, O_RDONLY);
  EXPECT_EQ(read(again, 0, 128 * 1024), text + "end");
  EXPECT_EQ(read(again, 200'000, 10), "");
  EXPECT_EQ(again.reply.open_flags & FOPEN_NOFLUSH, 0u);  // its close may end locks
  release(again);
}

TEST_F(FuseServerTest, truncation_comes_with_open) {
  const Opened file = create(kRoot, "f");
  EXPECT_EQ(write(file, 0, "old contents"), 0);
  const Opened again = open(file.inode, O_WRONLY | O_TRUNC);
  EXPECT_EQ(attributes(file.inode).size, 0u);
  release(again);
  release(file);
}

// open(O_CREAT) without O_EXCL of a name that the kernel did not find. It checks no permission of
// what a creation is answered with.
class LateCreationTest : public FuseRig {
 protected:
  void SetUp() override {
    start();
    const Opened file = create(FUSE_ROOT_ID, "f");
    EXPECT_EQ(write(file, 0, "of another user"), 0);
    release(file);
    kernel->pid = 100;
  }
  std::uint64_t send(int flags = 0) {
    fuse_create_in in{};
    in.flags = static_cast<std::uint32_t>(O_RDWR | O_CREAT | flags);
    in.mode = S_IFREG | 0600;
    return kernel->send(FUSE_CREATE, FUSE_ROOT_ID, raw(in) + terminated("f"));
  }
  Answer answer_to(std::uint64_t request) {
    std::optional<Answer> answer;
    EXPECT_TRUE(run_until([&] { return (answer = kernel->answer(request)).has_value(); }));
    return *answer;
  }
};

TEST_F(LateCreationTest, what_others_have_made_is_not_given_to_the_caller) {
  EXPECT_EQ(answer_to(send()).error, ESTALE);
  kernel->pid = 101;
  EXPECT_EQ(answer_to(send(O_TRUNC)).error, ESTALE);
  EXPECT_EQ(attributes(lookup(FUSE_ROOT_ID, "f").nodeid).size, 15u);
  EXPECT_EQ(answer_to(send(O_EXCL)).error, EEXIST);
}

TEST_F(LateCreationTest, on_a_second_walk_it_is_made_when_the_name_is_gone) {
  EXPECT_EQ(answer_to(send()).error, ESTALE);
  const std::uint64_t request = send();
  run_for(std::chrono::milliseconds(5));
  EXPECT_FALSE(kernel->answer(request));
  kernel->pid = 200;
  EXPECT_EQ(error_of(FUSE_UNLINK, FUSE_ROOT_ID, terminated("f")), 0);
  const Answer made = answer_to(request);
  ASSERT_EQ(made.error, 0);
  EXPECT_EQ(made.at<fuse_entry_out>().attr.size, 0u);
  release({.inode = made.at<fuse_entry_out>().nodeid,
           .handle = made.at<fuse_open_out>(sizeof(fuse_entry_out)).fh,
           .reply = {}});
}

TEST_F(LateCreationTest, it_is_not_tried_for_ever) {
  EXPECT_EQ(answer_to(send()).error, ESTALE);
  const MonoTime begin = events.now();
  EXPECT_EQ(answer_to(send()).error, EAGAIN);
  EXPECT_GE(events.now() - begin, std::chrono::milliseconds(500));
  EXPECT_LT(events.now() - begin, std::chrono::seconds(3));
}

TEST_F(FuseServerTest, truncation_by_open_clears_set_id_bits_unless_root_does_it) {
  const Opened file = create(kRoot, "f");
  const auto mode_after = [&](std::uint32_t uid) {
    fuse_setattr_in in{};
    in.valid = FATTR_MODE;
    in.mode = 06775;
    EXPECT_EQ(error_of(FUSE_SETATTR, file.inode, raw(in)), 0);
    kernel->uid = uid;
    EXPECT_EQ(write(file, 0, "text"), 0);
    release(open(file.inode, O_WRONLY | O_TRUNC));
    return attributes(file.inode).mode & 07777;
  };
  EXPECT_EQ(mode_after(1000), 0775u);
  EXPECT_EQ(mode_after(0), 06775u);
  release(file);
}

TEST_F(FuseServerTest, an_empty_file_opened_for_truncation_has_been_changed) {
  const Opened file = create(kRoot, "f");
  release(file);
  const fuse_attr before = attributes(file.inode);
  run_for(std::chrono::seconds(2));
  release(open(file.inode, O_WRONLY | O_TRUNC));
  const fuse_attr after = attributes(file.inode);
  EXPECT_GE(after.mtime, before.mtime + 2);
  EXPECT_GE(after.ctime, before.ctime + 2);
}

TEST_F(FuseServerTest, a_file_without_a_name_can_be_given_one) {
  fuse_create_in in{};
  in.flags = O_RDWR | O_TMPFILE;
  in.mode = S_IFREG | 0666;
  in.umask = 022;
  const Answer answer = call(FUSE_TMPFILE, kRoot, raw(in) + terminated("/"));
  ASSERT_EQ(answer.error, 0);
  const auto made = answer.at<fuse_entry_out>();
  EXPECT_EQ(made.attr.nlink, 0u);
  EXPECT_EQ(made.attr.mode, S_IFREG | 0644u);
  const auto reply = answer.at<fuse_open_out>(sizeof(fuse_entry_out));
  const Opened file{.inode = made.nodeid, .handle = reply.fh, .reply = reply};
  EXPECT_EQ(lookups(made.nodeid), 1u);
  EXPECT_EQ(write(file, 0, "text"), 0);
  fuse_link_in link{};
  link.oldnodeid = made.nodeid;
  EXPECT_EQ(call(FUSE_LINK, kRoot, raw(link) + terminated("named")).at<fuse_entry_out>().attr.nlink,
            1u);
  release(file);
  run_for(std::chrono::seconds(5));
  const Opened again = open(lookup(kRoot, "named").nodeid, O_RDONLY);
  EXPECT_EQ(read(again, 0, 100), "text");
  release(again);
}

TEST_F(FuseServerTest, a_file_that_stays_without_a_name_goes_with_its_last_close) {
  fuse_create_in in{};
  in.flags = O_RDWR | O_TMPFILE;
  in.mode = S_IFREG | 0666;
  const Answer answer = call(FUSE_TMPFILE, kRoot, raw(in) + terminated("/"));
  ASSERT_EQ(answer.error, 0);
  const auto reply = answer.at<fuse_open_out>(sizeof(fuse_entry_out));
  const Opened file{
      .inode = answer.at<fuse_entry_out>().nodeid, .handle = reply.fh, .reply = reply};
  EXPECT_EQ(write(file, 0, "text"), 0);
  release(file);
  EXPECT_EQ(client->usage().dirty_bytes, 0u);
  run_for(std::chrono::seconds(60));
  EXPECT_EQ(error_of(FUSE_GETATTR, file.inode, raw(fuse_getattr_in{})), ESTALE);
  // With another name it is nothing we know.
  EXPECT_EQ(error_of(FUSE_TMPFILE, kRoot, raw(in) + terminated("name")), ENOSYS);
}

TEST_F(FuseServerTest, append_goes_to_the_true_end_and_drops_the_kernels_pages) {
  const Opened file = create(kRoot, "f");
  EXPECT_EQ(write(file, 0, "0123456789"), 0);
  // The kernel's idea of the size is old: another client, or nothing read yet.
  EXPECT_EQ(write(file, 4, "abc", O_APPEND), 0);
  EXPECT_EQ(read(file, 0, 100), "0123456789abc");
  ASSERT_TRUE(kernel->wait_for_notification());
  const Answer notification = kernel->notifications().at(0);
  EXPECT_EQ(notification.error, FUSE_NOTIFY_INVAL_INODE);
  EXPECT_EQ(notification.at<fuse_notify_inval_inode_out>().ino, file.inode);
  release(file);
}

TEST_F(FuseServerTest, waiting_call_is_interrupted) {
  run_for(std::chrono::seconds(2));  // what is known of the root is old
  master->pause();
  const std::uint64_t waiting = kernel->send(FUSE_GETATTR, kRoot, raw(fuse_getattr_in{}));
  run_for(std::chrono::milliseconds(500));
  EXPECT_FALSE(kernel->answer(waiting));
  fuse_interrupt_in interrupt{};
  interrupt.unique = waiting;
  kernel->send(FUSE_INTERRUPT, 0, raw(interrupt));
  run_for(std::chrono::milliseconds(500));
  const auto answer = kernel->answer(waiting);
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->error, EINTR);
  master->resume();
  attributes(kRoot);
}

TEST_F(FuseServerTest, a_caught_signal_interrupts_only_what_waits_for_long) {
  master->pause();
  kernel->pid = static_cast<std::uint32_t>(getpid());  // which goes on
  const std::uint64_t waiting = kernel->send(FUSE_LOOKUP, kRoot, terminated("unknown"));
  fuse_interrupt_in interrupt{};
  interrupt.unique = waiting;
  kernel->send(FUSE_INTERRUPT, 0, raw(interrupt));
  run_for(kCaughtSignalPatience - std::chrono::seconds(1));
  EXPECT_FALSE(kernel->answer(waiting));
  run_for(std::chrono::seconds(2));
  const auto answer = kernel->answer(waiting);
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->error, EINTR);
}

TEST_F(FuseServerTest, a_call_that_a_caught_signal_met_is_done_when_the_master_is_back) {
  master->pause();
  kernel->pid = static_cast<std::uint32_t>(getpid());
  const std::uint64_t waiting = kernel->send(FUSE_LOOKUP, kRoot, terminated("unknown"));
  fuse_interrupt_in interrupt{};
  interrupt.unique = waiting;
  kernel->send(FUSE_INTERRUPT, 0, raw(interrupt));
  run_for(std::chrono::seconds(5));
  master->resume();
  std::optional<Answer> answer;
  ASSERT_TRUE(run_until([&] { return (answer = kernel->answer(waiting)).has_value(); }));
  EXPECT_EQ(answer->error, ENOENT);
}

TEST_F(FuseServerTest, interrupt_of_an_answered_call_does_nothing) {
  const std::uint64_t unique = kernel->send(FUSE_GETATTR, kRoot, raw(fuse_getattr_in{}));
  ASSERT_TRUE(run_until([&] { return kernel->answer(unique).has_value(); }));
  fuse_interrupt_in interrupt{};
  interrupt.unique = unique;
  kernel->send(FUSE_INTERRUPT, 0, raw(interrupt));
  attributes(kRoot);
}

TEST_F(FuseServerTest, mounted_subdirectory_is_the_kernels_root) {
  const std::uint64_t directory = make_directory(kRoot, "sub");
  const std::uint64_t inside = make_directory(directory, "inside");
  serve(InodeId{directory});
  EXPECT_EQ(attributes(kRoot).ino, kRoot);
  EXPECT_EQ(lookup(kRoot, "inside").nodeid, inside);
  EXPECT_EQ(error_of(FUSE_LOOKUP, kRoot, std::string("sub") + '\0'), ENOENT);
  const std::uint64_t handle = open_directory(kRoot);
  const auto entries = list(kRoot, handle, 0, 4096);
  ASSERT_EQ(entries.size(), 3u);
  EXPECT_EQ(entries[0].name, ".");
  EXPECT_EQ(entries[0].inode, kRoot);
  EXPECT_EQ(entries[2].name, "inside");
}

TEST_F(FuseServerTest, first_read_moves_an_old_access_time_and_nothing_else) {
  const Opened file = create(kRoot, "f");
  EXPECT_EQ(write(file, 0, "text"), 0);
  release(file);
  run_for(std::chrono::seconds(5));
  const fuse_attr before = attributes(file.inode);
  const Opened reader = open(file.inode, O_RDONLY);
  EXPECT_EQ(read(reader, 0, 4), "text");
  const fuse_attr after = attributes(file.inode);
  EXPECT_GE(after.atime, before.atime + 4);
  EXPECT_EQ(after.mtime, before.mtime);
  EXPECT_EQ(after.ctime, before.ctime);
  EXPECT_EQ(after.ctimensec, before.ctimensec);
  run_for(std::chrono::seconds(5));
  EXPECT_EQ(attributes(file.inode).atime, after.atime);  // the master's word
  const Opened again = open(file.inode, O_RDONLY);
  EXPECT_EQ(read(again, 0, 4), "text");
  run_for(std::chrono::seconds(5));
  EXPECT_EQ(attributes(file.inode).atime, after.atime);  // young enough
  run_for(std::chrono::hours(25));
  const Opened later = open(file.inode, O_RDONLY);
  EXPECT_EQ(read(later, 0, 4), "text");
  EXPECT_GT(attributes(file.inode).atime, after.atime + 24 * 3600);
  for (const Opened& each : {reader, again, later}) {
    release(each);
  }
}

// An inode that nobody knows any more.
class SecondWalkTest : public FuseRig {
 protected:
  void SetUp() override {
    start();
    fuse_create_in in{};
    in.flags = O_RDWR | O_TMPFILE;
    in.mode = S_IFREG | 0666;
    const Answer answer = call(FUSE_TMPFILE, kRoot, raw(in) + terminated("/"));
    gone = answer.at<fuse_entry_out>().nodeid;
    release({.inode = gone,
             .handle = answer.at<fuse_open_out>(sizeof(fuse_entry_out)).fh,
             .reply = {}});
    run_for(std::chrono::seconds(60));
    kernel->pid = 100;
  }
  int make_in_it() { return error_of(FUSE_MKDIR, gone, mkdir); }

  const std::string mkdir = raw(fuse_mkdir_in{}) + terminated("name");
  std::uint64_t gone = 0;
};

// The kernel walks a path again once; what is found then can be removed before it is used.
TEST_F(SecondWalkTest, what_is_gone_by_then_has_no_name) {
  EXPECT_EQ(make_in_it(), ESTALE);
  kernel->pid = 101;
  EXPECT_EQ(make_in_it(), ESTALE);
  EXPECT_EQ(make_in_it(), ENOENT);
  EXPECT_EQ(make_in_it(), ESTALE);  // another call
  run_for(2 * kWalkTime);
  EXPECT_EQ(error_of(FUSE_GETATTR, gone, raw(fuse_getattr_in{})), ESTALE);
  EXPECT_EQ(error_of(FUSE_GETATTR, gone, raw(fuse_getattr_in{})), ENOENT);
}

TEST_F(SecondWalkTest, its_answer_may_be_long_in_coming) {
  EXPECT_EQ(make_in_it(), ESTALE);
  master->pause();
  const std::uint64_t request = kernel->send(FUSE_MKDIR, gone, mkdir);
  run_for(std::chrono::seconds(2));
  master->resume();
  std::optional<Answer> answer;
  ASSERT_TRUE(run_until([&] { return (answer = kernel->answer(request)).has_value(); }));
  EXPECT_EQ(answer->error, ENOENT);
}

// A directory that was moved, but not by this kernel.
class MovedDirectoryTest : public FuseRig {
 protected:
  void SetUp() override {
    start();
    from = make_directory(kRoot, "from");
    to = make_directory(kRoot, "to");
    moved = make_directory(from, "d");
    bool is_done = false;
    RenameRequest rename;
    rename.parent = InodeId{from};
    rename.name = "d";
    rename.new_parent = InodeId{to};
    rename.new_name = "d";
    client->rename(rename, [&is_done](const Result<RenameReply>& reply) {
      EXPECT_TRUE(reply);
      is_done = true;
    });
    ASSERT_TRUE(run_until([&] { return is_done; }));
    lookup(kRoot, "to");  // what follows is answered from here
    master->pause();
  }
  void TearDown() override {
    master->resume();
    for (const std::uint64_t change : changes) {
      EXPECT_TRUE(run_until([&] { return kernel->answer(change).has_value(); }));
    }
  }
  void make_in(std::uint64_t directory) {
    changes.push_back(
        kernel->send(FUSE_MKDIR, directory, raw(fuse_mkdir_in{}) + terminated("new")));
  }
  // After how many milliseconds it is found.
  std::int64_t find_it() {
    const MonoTime begin = events.now();
    EXPECT_EQ(lookup(to, "d").nodeid, moved);
    return std::chrono::duration_cast<std::chrono::milliseconds>(events.now() - begin).count();
  }

  std::uint64_t from = 0, to = 0, moved = 0;
  std::vector<std::uint64_t> changes;
};

TEST_F(MovedDirectoryTest, it_is_found_when_the_kernel_can_move_it) {
  EXPECT_EQ(find_it(), 1);  // requests that come behind are read
  make_in(from);
  EXPECT_EQ(find_it(), 0);  // it has
}

TEST_F(MovedDirectoryTest, who_looks_it_up_waits_for_changes_where_it_was) {
  make_in(to);
  make_in(from);
  const std::uint64_t request = kernel->send(FUSE_LOOKUP, to, terminated("d"));
  run_for(std::chrono::milliseconds(5));
  EXPECT_FALSE(kernel->answer(request));
  master->resume();
  std::optional<Answer> answer;
  ASSERT_TRUE(run_until([&] { return (answer = kernel->answer(request)).has_value(); }));
  EXPECT_EQ(answer->at<fuse_entry_out>().nodeid, moved);
}

TEST_F(MovedDirectoryTest, it_is_not_waited_for_long) {
  make_in(from);
  const std::int64_t took_ms = find_it();
  EXPECT_GE(took_ms, 10);
  EXPECT_LE(took_ms, 50);
}

TEST_F(MovedDirectoryTest, changes_elsewhere_do_not_hinder) {
  make_in(kRoot);
  make_in(to);
  EXPECT_EQ(find_it(), 1);
}

class FuseServerNoAtimeTest : public FuseRig {};

TEST_F(FuseServerNoAtimeTest, reads_leave_access_times_alone_when_told) {
  client::ClientOptions options;
  options.update_atime = false;
  start(options);
  const Opened file = create(kRoot, "f");
  EXPECT_EQ(write(file, 0, "text"), 0);
  run_for(std::chrono::seconds(5));
  const fuse_attr before = attributes(file.inode);
  EXPECT_EQ(read(file, 0, 4), "text");
  run_for(std::chrono::seconds(5));
  EXPECT_EQ(attributes(file.inode).atime, before.atime);
  release(file);
}

}  // namespace
}  // namespace dfs::fuse
