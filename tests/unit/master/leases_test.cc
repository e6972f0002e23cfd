// Leases at a real master: changes wait for who keeps what they change, and tell all of it.
#include <gtest/gtest.h>

#include <map>
#include <optional>

#include "tests/sim/sim_random.h"
#include "tests/unit/master/master_rig.h"

namespace dfs::master {
namespace {

using std::chrono::seconds;

class LeasesTest : public MasterRig {
 protected:
  void SetUp() override {
    MasterRig::SetUp();
    other = std::make_unique<TestClient>(events, network, "other");
    other->open(2);
  }
  // Begins a change of `client` without waiting for its answer.
  template <class Request>
  Answer<typename Request::Reply> begin_change(const Request& request) {
    ++client->sequence;
    return client->begin(request, CallOptions{.session = client->session,
                                              .sequence = client->sequence,
                                              .acknowledged = client->sequence - 1});
  }
  template <class Request>
  Answer<typename Request::Reply> begin_as(TestClient& who, const Request& request) {
    return who.begin(request, CallOptions{.session = who.session});
  }
  template <class Reply>
  bool is_answered(const Answer<Reply>& answer, Duration within = seconds(1)) {
    return events.run_until([&] { return answer->has_value(); }, within);
  }
  SetAttributesRequest mode_of(InodeId inode, std::uint32_t mode) {
    SetAttributesRequest request = set_request(inode);
    request.mode = mode;
    return request;
  }
  SetAttributesRequest size_of(InodeId inode, std::uint64_t size_bytes) {
    SetAttributesRequest request = set_request(inode);
    request.size_bytes = size_bytes;
    return request;
  }

  std::unique_ptr<TestClient> other;
};

TEST_F(LeasesTest, change_is_applied_when_who_was_told_has_dropped_it) {
  const InodeId file = client->make_file("f");
  other->attributes(file);
  other->drops_at_once = false;
  const auto answer = begin_change(mode_of(file, 0600));
  EXPECT_FALSE(is_answered(answer));
  ASSERT_EQ(other->noticed.size(), 1u);
  EXPECT_EQ(other->noticed[0].inode, file);
  EXPECT_FALSE(other->noticed[0].contents);
  EXPECT_EQ(other->attributes(file).mode & kModePermissions, 0644u);
  other->acknowledge_notices();
  ASSERT_TRUE(is_answered(answer));
  EXPECT_TRUE(**answer);
  EXPECT_EQ(other->attributes(file).mode & kModePermissions, 0600u);
}

TEST_F(LeasesTest, what_is_told_while_a_change_waits_is_not_to_be_kept) {
  const InodeId file = client->make_file("f");
  other->drops_at_once = false;
  EXPECT_NE(other->ask(GetAttributesRequest{.inode = file})->lease, 0u);
  const auto answer = begin_change(mode_of(file, 0600));
  EXPECT_FALSE(is_answered(answer));
  EXPECT_EQ(other->ask(GetAttributesRequest{.inode = file})->lease, 0u);
  other->acknowledge_notices();
  ASSERT_TRUE(is_answered(answer));
  EXPECT_NE(other->ask(GetAttributesRequest{.inode = file})->lease, 0u);
}

TEST_F(LeasesTest, contents_are_not_told_to_who_has_dropped_them_before_they_have_changed) {
  const InodeId file = client->make_file("f");
  auto third = std::make_unique<TestClient>(events, network, "third");
  third->open(3);
  other->drops_at_once = third->drops_at_once = false;
  const GetExtentsRequest question{.inode = file, .offset = 0, .length_bytes = 10};
  ASSERT_TRUE(other->ask(question));
  ASSERT_TRUE(third->ask(question));
  const auto answer = begin_change(size_of(file, 77));
  EXPECT_FALSE(is_answered(answer));
  EXPECT_EQ(other->ask(question)->attributes.size_bytes, 0u);  // it has yet to drop it
  other->acknowledge_notices();
  const auto read = other->begin(question, CallOptions{.session = other->session});
  EXPECT_FALSE(is_answered(read));
  third->acknowledge_notices();
  ASSERT_TRUE(is_answered(answer));
  ASSERT_TRUE(is_answered(read));
  EXPECT_EQ((**read)->attributes.size_bytes, 77u);
}

TEST_F(LeasesTest, a_dead_client_is_waited_for_until_its_session_ends) {
  const InodeId file = client->make_file("f");
  other->attributes(file);
  network.drop_host("other");
  other.reset();
  const auto answer = begin_change(mode_of(file, 0600));
  EXPECT_FALSE(is_answered(answer, kSessionTimeout / 2));
  ASSERT_TRUE(client->keep_alive({}, {}));
  EXPECT_TRUE(is_answered(answer, kSessionTimeout));
}

TEST_F(LeasesTest, a_waiting_change_can_be_withdrawn_and_is_not_made_by_a_late_copy) {
  const InodeId file = client->make_file("f");
  other->attributes(file);
  other->drops_at_once = false;
  const auto answer = begin_change(mode_of(file, 0600));
  EXPECT_FALSE(is_answered(answer));
  const auto withdrawn = client->ask(WithdrawRequest{.sequence = client->sequence});
  ASSERT_TRUE(withdrawn);
  EXPECT_TRUE(withdrawn->was_waiting);
  ASSERT_TRUE(is_answered(answer));
  EXPECT_EQ((*answer)->code(), ErrorCode::kInterrupted);
  other->acknowledge_notices();
  EXPECT_EQ(client->repeat(mode_of(file, 0600)).code(), ErrorCode::kInterrupted);
  EXPECT_EQ(client->attributes(file).mode & kModePermissions, 0644u);
}

TEST_F(LeasesTest, only_a_change_of_names_or_contents_is_withdrawn) {
  const InodeId file = client->make_file("f");
  other->attributes(file);
  other->drops_at_once = false;
  const auto answer = begin_change(TakeWriteLeaseRequest{.inode = file});
  EXPECT_FALSE(is_answered(answer));
  const auto withdrawn = client->ask(WithdrawRequest{.sequence = client->sequence});
  ASSERT_TRUE(withdrawn);
  EXPECT_FALSE(withdrawn->was_waiting);
  other->acknowledge_notices();
  ASSERT_TRUE(is_answered(answer));
  EXPECT_TRUE(**answer);
}

TEST_F(LeasesTest, a_change_repeated_while_it_waits_is_made_once) {
  const InodeId directory = client->make_directory("d");
  other->attributes(directory);
  other->drops_at_once = false;
  const auto request = create_request(directory, "f", kModeRegular | 0644);
  const auto first = begin_change(request);
  EXPECT_FALSE(is_answered(first));
  --client->sequence;
  const auto second = begin_change(request);
  EXPECT_FALSE(is_answered(second));
  other->acknowledge_notices();
  // Whichever copy came last is answered.
  ASSERT_TRUE(
      events.run_until([&] { return first->has_value() || second->has_value(); }, seconds(1)));
  EXPECT_TRUE(first->has_value() ? **first : **second);
}

// --- Truncations whose kernels keep pages back until they are answered ---------------------------

class TwoCutsTest : public LeasesTest {
 protected:
  void SetUp() override {
    LeasesTest::SetUp();
    third = std::make_unique<TestClient>(events, network, "third");
    third->open(3);
    file = client->make_file("f");
    elsewhere = client->make_file("g");
    for (const InodeId inode : {file, elsewhere}) {
      client->attributes(inode);
      other->attributes(inode);
    }
    client->drops_at_once = other->drops_at_once = false;
  }
  Answer<AttributesReply> begin_cut(TestClient& who, std::uint64_t size_bytes) {
    ++who.sequence;
    return who.begin(size_of(file, size_bytes), CallOptions{.session = who.session,
                                                            .sequence = who.sequence,
                                                            .acknowledged = who.sequence - 1});
  }
  Answer<GetExtentsReply> begin_read() {
    return begin_as(*third, GetExtentsRequest{.inode = file, .offset = 0, .length_bytes = 10});
  }

  std::unique_ptr<TestClient> third;
  InodeId file;
  InodeId elsewhere;
};

TEST_F(TwoCutsTest, the_one_that_cuts_off_less_is_made_first) {
  for (const bool is_small_first : {true, false}) {
    Answer<AttributesReply> small;
    Answer<AttributesReply> large;
    if (is_small_first) {
      small = begin_cut(*client, 10);
      EXPECT_FALSE(is_answered(small));
    }
    large = begin_cut(*other, 77);
    EXPECT_FALSE(is_answered(large));
    if (!is_small_first) {
      small = begin_cut(*client, 10);
    }
    EXPECT_FALSE(is_answered(small));
    other->hold_up_newest_notice();
    EXPECT_FALSE(is_answered(small) || large->has_value());
    client->hold_up_newest_notice();
    ASSERT_TRUE(is_answered(large));
    EXPECT_EQ((**large)->attributes.size_bytes, 77u);
    EXPECT_EQ((**large)->lease, 0u);
    EXPECT_FALSE(is_answered(small));
    other->acknowledge_notices();
    ASSERT_TRUE(is_answered(small));
    EXPECT_EQ((**small)->attributes.size_bytes, 10u);
    // The pages that come now must be in what others read.
    const auto read = begin_read();
    EXPECT_FALSE(is_answered(read));
    EXPECT_EQ(third->ask(GetAttributesRequest{.inode = file})->lease, 0u);
    client->acknowledge_notices();
    ASSERT_TRUE(is_answered(read));
    EXPECT_EQ((**read)->attributes.size_bytes, 10u);
    EXPECT_NE((**read)->lease, 0u);
    // Both keep it again.
    client->attributes(file);
    other->attributes(file);
  }
}

TEST_F(TwoCutsTest, of_the_same_size_the_first_is_made_first) {
  const auto first = begin_cut(*other, 10);
  EXPECT_FALSE(is_answered(first));
  const auto second = begin_cut(*client, 10);
  EXPECT_FALSE(is_answered(second));
  client->hold_up_newest_notice();
  other->hold_up_newest_notice();
  ASSERT_TRUE(is_answered(first));
  EXPECT_FALSE(is_answered(second));
  other->acknowledge_notices();
  EXPECT_TRUE(is_answered(second));
}

TEST_F(TwoCutsTest, who_is_held_up_by_something_else_is_waited_for) {
  const auto cut = begin_cut(*client, 10);
  EXPECT_FALSE(is_answered(cut));
  other->hold_up_newest_notice();
  EXPECT_FALSE(is_answered(cut));
  ++other->sequence;
  const auto of_another_file = other->begin(
      size_of(elsewhere, 5), CallOptions{.session = other->session, .sequence = other->sequence});
  EXPECT_FALSE(is_answered(of_another_file));
  EXPECT_FALSE(is_answered(cut));
  other->acknowledge_notices();
  EXPECT_TRUE(is_answered(cut));
}

TEST_F(TwoCutsTest, who_dies_holding_pages_back_is_waited_for_until_its_session_ends) {
  const auto large = begin_cut(*client, 77);
  EXPECT_FALSE(is_answered(large));
  begin_cut(*other, 10);
  EXPECT_FALSE(is_answered(large));
  other->hold_up_newest_notice();
  ASSERT_TRUE(is_answered(large));
  client->acknowledge_notices();
  network.drop_host("other");
  other.reset();
  const auto read = begin_read();
  EXPECT_FALSE(is_answered(read, kSessionTimeout / 2));
  ASSERT_TRUE(client->keep_alive({}, {}));
  ASSERT_TRUE(third->keep_alive({}, {}));
  EXPECT_TRUE(is_answered(read, kSessionTimeout));
}

// --- Write leases --------------------------------------------------------------------------------

TEST_F(LeasesTest, who_asks_about_a_file_waits_until_its_writer_has_stored_what_it_wrote) {
  const InodeId file = client->make_file("f");
  ASSERT_NE(client->ask(TakeWriteLeaseRequest{.inode = file})->lease, 0u);
  client->drops_at_once = false;
  const auto attributes = begin_as(*other, GetAttributesRequest{.inode = file});
  const auto entry = begin_as(*other, LookupRequest{.parent = kRootInode, .name = "f"});
  const auto extents =
      begin_as(*other, GetExtentsRequest{.inode = file, .offset = 0, .length_bytes = 1});
  const auto data = begin_as(*other, SeekRequest{.inode = file, .offset = 0, .kind = 0});
  EXPECT_FALSE(is_answered(attributes));
  ASSERT_FALSE(client->noticed.empty());
  EXPECT_TRUE(client->noticed[0].settle);
  EXPECT_FALSE(client->noticed[0].contents);
  // The writer itself is answered.
  EXPECT_TRUE(client->ask(GetAttributesRequest{.inode = file}));
  // So is a listing, which says that it does not know.
  const auto listed = other->ask(ReadDirectoryRequest{.inode = kRootInode, .cookie = 0});
  ASSERT_TRUE(listed);
  EXPECT_TRUE(listed->entries.at(0).is_written);
  EXPECT_NE(listed->lease, 0u);
  EXPECT_FALSE(entry->has_value() || extents->has_value() || data->has_value());
  client->acknowledge_notices();
  ASSERT_TRUE(is_answered(attributes) && is_answered(entry) && is_answered(extents) &&
              is_answered(data));
  EXPECT_NE((**attributes)->lease, 0u);
}

TEST_F(LeasesTest, a_write_lease_is_taken_when_all_others_have_dropped_the_file) {
  const InodeId file = client->make_file("f");
  other->attributes(file);
  other->drops_at_once = false;
  const auto taken = begin_as(*client, TakeWriteLeaseRequest{.inode = file});
  EXPECT_FALSE(is_answered(taken));
  ASSERT_EQ(other->noticed.size(), 1u);
  EXPECT_TRUE(other->noticed[0].contents);
  // Who is asked to drop it cannot have it before it said so.
  const auto contended = begin_as(*other, TakeWriteLeaseRequest{.inode = file});
  EXPECT_FALSE(is_answered(contended));
  client->drops_at_once = false;
  other->acknowledge_notices();
  ASSERT_TRUE(is_answered(taken));
  EXPECT_NE((**taken)->lease, 0u);
  EXPECT_FALSE(is_answered(contended));
  client->acknowledge_notices();
  ASSERT_TRUE(is_answered(contended));
  EXPECT_NE((**contended)->lease, 0u);
}

TEST_F(LeasesTest, a_read_that_waits_is_answered_before_the_reader_has_to_drop_the_file) {
  const InodeId file = client->make_file("f");
  ASSERT_NE(client->ask(TakeWriteLeaseRequest{.inode = file})->lease, 0u);
  client->drops_at_once = other->drops_at_once = false;
  const auto taken = begin_as(*other, TakeWriteLeaseRequest{.inode = file});
  const auto read =
      begin_as(*other, GetExtentsRequest{.inode = file, .offset = 0, .length_bytes = 1});
  EXPECT_FALSE(is_answered(read));
  // The lease changes hands, and the next change waits for the reader at once.
  const auto taken_back = begin_as(*client, TakeWriteLeaseRequest{.inode = file});
  EXPECT_FALSE(is_answered(taken_back));
  client->acknowledge_notices();
  ASSERT_TRUE(is_answered(taken));
  EXPECT_TRUE(is_answered(read));
  EXPECT_FALSE(is_answered(taken_back));
}

TEST_F(LeasesTest, a_new_file_is_its_makers_to_write) {
  CreateRequest create = create_request(kRootInode, "f", kModeRegular | 0644);
  create.pin = true;
  const auto made = client->change(create);
  ASSERT_TRUE(made);
  EXPECT_NE(made->write_epoch, 0u);
  client->drops_at_once = false;
  const auto found = begin_as(*other, LookupRequest{.parent = kRootInode, .name = "f"});
  EXPECT_FALSE(is_answered(found));
  client->acknowledge_notices();
  ASSERT_TRUE(is_answered(found));
  EXPECT_EQ((**found)->write_epoch, 0u);
}

TEST_F(LeasesTest, bytes_over_what_another_changed_are_refused) {
  const InodeId file = client->make_file("f");
  const std::uint64_t version = client->attributes(file).data_version;
  EXPECT_TRUE(client->ask(TakeWriteLeaseRequest{.inode = file, .data_version = version}));
  ASSERT_TRUE(other->change(size_of(file, 77)));
  EXPECT_EQ(client->ask(TakeWriteLeaseRequest{.inode = file, .data_version = version}).code(),
            ErrorCode::kLeaseLost);
}

TEST_F(LeasesTest, a_dead_writer_is_waited_for_until_its_session_ends) {
  const InodeId file = client->make_file("f");
  ASSERT_TRUE(other->ask(TakeWriteLeaseRequest{.inode = file}));
  network.drop_host("other");
  other.reset();
  const auto answer = begin_as(*client, GetAttributesRequest{.inode = file});
  EXPECT_FALSE(is_answered(answer, kSessionTimeout / 2));
  ASSERT_TRUE(client->keep_alive({}, {}));
  EXPECT_TRUE(is_answered(answer, kSessionTimeout));
}

TEST_F(LeasesTest, reclaimed_leases_are_honoured_by_the_next_master) {
  const InodeId file = client->make_file("f");
  other->attributes(file);
  other->kept = {file};
  other->drops_at_once = false;
  restart_after_kill();
  const auto answer = begin_change(mode_of(file, 0600));
  EXPECT_FALSE(is_answered(answer, seconds(8)));
  ASSERT_EQ(other->noticed.size(), 1u);
  EXPECT_EQ(other->noticed[0].inode, file);
  other->acknowledge_notices();
  EXPECT_TRUE(is_answered(answer));
}

TEST_F(LeasesTest, a_reclaim_told_again_does_not_pass_over_notices) {
  const InodeId file = client->make_file("f");
  other->attributes(file);
  other->kept = {file};
  other->drops_at_once = false;
  restart_after_kill({other.get()});
  const auto answer = begin_change(mode_of(file, 0600));
  EXPECT_FALSE(is_answered(answer));
  ASSERT_EQ(other->noticed.size(), 1u);
  other->noticed.clear();
  other->reclaim();  // as if the answer to the first had not come
  EXPECT_FALSE(is_answered(answer));
  ASSERT_EQ(other->noticed.size(), 1u);
  EXPECT_EQ(other->noticed[0].inode, file);
  other->acknowledge_notices();
  EXPECT_TRUE(is_answered(answer));
}

TEST_F(LeasesTest, after_a_restart_nothing_is_answered_before_all_have_reclaimed) {
  const InodeId file = client->make_file("f");
  network.drop_host("other");
  other.reset();
  restart_after_kill();
  const auto question =
      client->begin(GetAttributesRequest{.inode = file}, CallOptions{.session = client->session});
  EXPECT_FALSE(is_answered(question, kSessionTimeout / 2));
  ASSERT_TRUE(client->keep_alive({}, {}));
  EXPECT_TRUE(is_answered(question, kSessionTimeout));
}

TEST_F(LeasesTest, an_answer_kept_for_repetition_is_not_to_be_kept_by_its_receiver) {
  const auto made = client->change(create_request(kRootInode, "f", kModeRegular | 0644));
  ASSERT_TRUE(made);
  EXPECT_NE(made->lease, 0u);
  const auto again = client->repeat(create_request(kRootInode, "f", kModeRegular | 0644));
  ASSERT_TRUE(again);
  EXPECT_EQ(again->attributes.inode, made->attributes.inode);
  EXPECT_EQ(again->lease, 0u);
}

// Whatever one client does: what another keeps and was not told about is still true.
class LeaseModelTest : public LeasesTest, public testing::WithParamInterface<std::uint64_t> {
 protected:
  // All that `other` can know, asked for.
  void learn() {
    known.clear();
    names.clear();
    for (const InodeId inode : inodes) {
      const auto reply = other->ask(GetAttributesRequest{.inode = inode});
      if (reply) {
        ASSERT_NE(reply->lease, 0u);
        known[inode] = reply->attributes;
      }
    }
    for (const InodeId directory : directories) {
      for (const std::string& name : kNames) {
        const auto reply = other->ask(LookupRequest{.parent = directory, .name = name});
        names[{directory, name}] = reply ? std::optional(reply->attributes.inode) : std::nullopt;
      }
    }
    other->noticed.clear();
  }

  void check(const std::string& what) {
    const auto noticed = other->noticed;
    const auto is_noticed = [&](InodeId inode) {
      return std::any_of(noticed.begin(), noticed.end(),
                         [inode](const LeaseChange& change) { return change.inode == inode; });
    };
    for (const auto& [inode, attributes] : known) {
      const auto now = other->ask(GetAttributesRequest{.inode = inode});
      EXPECT_TRUE(is_noticed(inode) || (now && now->attributes == attributes))
          << what << " inode=" << inode.value;
    }
    for (const auto& [place, inode] : names) {
      const auto now = other->ask(LookupRequest{.parent = place.first, .name = place.second});
      const auto found = now ? std::optional(now->attributes.inode) : std::nullopt;
      const bool is_told =
          std::any_of(noticed.begin(), noticed.end(), [&](const LeaseChange& each) {
            const auto& names_told = inode ? each.names : each.new_names;
            return each.inode == place.first && std::find(names_told.begin(), names_told.end(),
                                                          place.second) != names_told.end();
          });
      EXPECT_TRUE(is_told || found == inode)
          << what << " directory=" << place.first.value << " name=" << place.second;
    }
  }

  template <class Reply>
  static std::string code_of(const Result<Reply>& reply) {
    return std::string(" ") + error_code_name(reply.code());
  }

  std::string random_change() {
    const InodeId directory = directories[random.below(directories.size())];
    const InodeId target = directories[random.below(directories.size())];
    const std::string name = kNames[random.below(kNames.size())];
    const std::string new_name = kNames[random.below(kNames.size())];
    const InodeId inode = inodes[random.below(inodes.size())];
    switch (random.below(9)) {
      case 0:
      case 1: {
        const bool is_directory = random.below(3) == 0;
        const auto made = client->change(create_request(
            directory, name, is_directory ? kModeDirectory | 0755 : kModeRegular | 0644));
        if (made) {
          inodes.push_back(made->attributes.inode);
          if (is_directory) {
            directories.push_back(made->attributes.inode);
          }
        }
        return "create " + name;
      }
      case 2:
        return "unlink " + name +
               code_of(client->change(UnlinkRequest{.parent = directory, .name = name}));
      case 3:
        return "rmdir " + name +
               code_of(client->change(RemoveDirectoryRequest{.parent = directory, .name = name}));
      case 4:
        return "rename " + name + " " + new_name +
               code_of(client->change(
                   RenameRequest{.parent = directory,
                                 .name = name,
                                 .new_parent = target,
                                 .new_name = new_name,
                                 .mode = static_cast<std::uint8_t>(random.below(3))}));
      case 5:
        return "link " + name +
               code_of(client->change(
                   LinkRequest{.inode = inode, .new_parent = directory, .new_name = name}));
      case 6:
        return "xattr" + code_of(client->change(SetXattrRequest{
                             .inode = inode, .name = "user.x", .value = name, .mode = 0}));
      case 7: return "truncate" + code_of(client->change(size_of(inode, random.below(100))));
      default:
        return "chmod" + code_of(client->change(
                             mode_of(inode, static_cast<std::uint32_t>(random.below(0777)))));
    }
  }

  const std::vector<std::string> kNames{"a", "b", "c"};
  std::vector<InodeId> inodes{kRootInode};
  std::vector<InodeId> directories{kRootInode};
  std::map<InodeId, Attributes> known;
  std::map<std::pair<InodeId, std::string>, std::optional<InodeId>> names;
  sim::SimRandom random{GetParam()};
};

TEST_P(LeaseModelTest, what_was_told_and_not_taken_back_is_true) {
  for (int i = 0; i < 60 && !HasFailure(); ++i) {
    learn();
    check(random_change());
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, LeaseModelTest, testing::Range<std::uint64_t>(1, 9));

}  // namespace
}  // namespace dfs::master
