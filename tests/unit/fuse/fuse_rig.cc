#include "tests/unit/fuse/fuse_rig.h"

namespace dfs::fuse {
namespace {

constexpr std::size_t kServers = 3;

}  // namespace

FuseRig::FuseRig() : master(std::make_unique<sim::MasterProcess>(environment)) {
  master->start();
  for (std::size_t i = 0; i < kServers; ++i) {
    servers.push_back(std::make_unique<sim::ChunkserverProcess>(environment, i));
    servers.back()->start();
  }
  transport = network.transport(scheduler, "client");
}

FuseRig::~FuseRig() {
  server.reset();
  client.reset();
  transport.reset();
  servers.clear();
  master.reset();
}

void FuseRig::start(client::ClientOptions options, InodeId root) {
  options.master = sim::kMasterAddress;
  options.memory_bytes = 32u << 20;
  client = std::make_unique<client::Client>(
      World{scheduler, client_random, log, *transport}, options,
      client::ClientEvents{
          .invalidate_contents =
              [this](InodeId inode) {
                if (server) {
                  server->invalidate_contents(inode);
                }
              },
          .drop_cached =
              [this](const std::vector<LeaseChange>& changes, std::function<void()> dropped) {
                if (server) {
                  server->drop_cached(changes, std::move(dropped));
                } else {
                  scheduler.post(std::move(dropped));
                }
              },
          .others_go_on =
              [this](const std::vector<InodeId>& files, std::function<void()> done) {
                if (server) {
                  server->others_go_on(files, std::move(done));
                } else {
                  done();
                }
              },
          .is_known = [this](InodeId inode) { return server && server->is_known(inode); },
          .asked_for =
              [this](InodeId inode) {
                if (server) {
                  server->note_asked_for(inode);
                }
              }});
  std::optional<Status> started;
  client->start([&](Status status) { started = std::move(status); });
  ASSERT_TRUE(run_until([&] { return started.has_value(); }));
  ASSERT_TRUE(*started);
  serve(root);
}

void FuseRig::serve(InodeId root) {
  server.reset();
  kernel = std::make_unique<FakeKernel>();
  is_connected_ = true;
  auto created = FuseServer::create(*client, scheduler, log,
                                    {.root = root,
                                     .mount_options = {},
                                     .umount_wait = kUmountWait,
                                     .post_from_thread = [this](Task task) {
                                       const std::lock_guard lock(from_threads_mutex_);
                                       from_threads_.push_back(std::move(task));
                                     }});
  ASSERT_TRUE(created);
  server = std::move(*created);
  ASSERT_TRUE(server->attach(kernel->server_end()));
  fuse_init_in init{};
  init.major = FUSE_KERNEL_VERSION;
  init.minor = FUSE_KERNEL_MINOR_VERSION;
  init.max_readahead = 1u << 20;
  init.flags = ~(FUSE_INIT_EXT | FUSE_INIT_RESERVED);  // a kernel that can do everything
  if (kernel_maps_direct) {
    init.flags |= FUSE_INIT_EXT;
    init.flags2 = kAllowMmapFlag2;
  }
  const Answer answer = call(FUSE_INIT, 0, raw(init));
  ASSERT_EQ(answer.error, 0);
  negotiated = answer.at<fuse_init_out>();
}

void FuseRig::run_from_threads() {
  std::vector<Task> tasks;
  {
    const std::lock_guard lock(from_threads_mutex_);
    tasks.swap(from_threads_);
  }
  for (const Task& task : tasks) {
    task();
  }
}

bool FuseRig::run_until(const std::function<bool()>& condition, Duration limit) {
  const MonoTime end = events.now() + limit;
  while (true) {
    if (server && is_connected_) {
      is_connected_ = server->process();
    }
    run_from_threads();
    if (condition()) {
      return true;
    }
    if (events.now() > end || !events.run_one()) {
      return false;
    }
  }
}

void FuseRig::run_for(Duration duration) {
  const MonoTime end = events.now() + duration;
  scheduler.run_at(end, [] {});
  run_until([&] { return events.now() >= end; }, duration + std::chrono::seconds(1));
}

Answer FuseRig::call(std::uint32_t opcode, std::uint64_t node, const std::string& payload) {
  const std::uint64_t unique = kernel->send(opcode, node, payload);
  std::optional<Answer> answer;
  EXPECT_TRUE(run_until([&] { return (answer = kernel->answer(unique)).has_value(); }))
      << "no answer to opcode " << opcode;
  return answer.value_or(Answer{.error = -1, .bytes = {}});
}

fuse_entry_out FuseRig::lookup(std::uint64_t parent, const std::string& name) {
  const Answer answer = call(FUSE_LOOKUP, parent, terminated(name));
  EXPECT_EQ(answer.error, 0);
  return answer.at<fuse_entry_out>();
}

fuse_attr FuseRig::attributes(std::uint64_t node) {
  const Answer answer = call(FUSE_GETATTR, node, raw(fuse_getattr_in{}));
  EXPECT_EQ(answer.error, 0);
  return answer.at<fuse_attr_out>().attr;
}

std::uint64_t FuseRig::make_directory(std::uint64_t parent, const std::string& name) {
  fuse_mkdir_in in{};
  in.mode = 0755;
  const Answer answer = call(FUSE_MKDIR, parent, raw(in) + terminated(name));
  EXPECT_EQ(answer.error, 0);
  return answer.at<fuse_entry_out>().nodeid;
}

Opened FuseRig::create(std::uint64_t parent, const std::string& name) {
  fuse_create_in in{};
  in.flags = O_RDWR | O_CREAT | O_EXCL;
  in.mode = S_IFREG | 0644;
  const Answer answer = call(FUSE_CREATE, parent, raw(in) + terminated(name));
  EXPECT_EQ(answer.error, 0);
  const auto reply = answer.at<fuse_open_out>(sizeof(fuse_entry_out));
  return {.inode = answer.at<fuse_entry_out>().nodeid, .handle = reply.fh, .reply = reply};
}

Opened FuseRig::open(std::uint64_t node, int flags) {
  fuse_open_in in{};
  in.flags = static_cast<std::uint32_t>(flags);
  const Answer answer = call(FUSE_OPEN, node, raw(in));
  EXPECT_EQ(answer.error, 0);
  const auto reply = answer.at<fuse_open_out>();
  return {.inode = node, .handle = reply.fh, .reply = reply};
}

std::uint64_t FuseRig::open_directory(std::uint64_t node) {
  const Answer answer = call(FUSE_OPENDIR, node, raw(fuse_open_in{}));
  EXPECT_EQ(answer.error, 0);
  return answer.at<fuse_open_out>().fh;
}

int FuseRig::write(const Opened& file, std::uint64_t offset, const std::string& text, int flags,
                   std::uint32_t write_flags) {
  fuse_write_in in{};
  in.fh = file.handle;
  in.offset = offset;
  in.size = static_cast<std::uint32_t>(text.size());
  in.flags = static_cast<std::uint32_t>(O_RDWR | flags);
  in.write_flags = write_flags;
  const Answer answer = call(FUSE_WRITE, file.inode, raw(in) + text);
  EXPECT_TRUE(answer.error != 0 || answer.at<fuse_write_out>().size == text.size());
  return answer.error;
}

std::string FuseRig::read(const Opened& file, std::uint64_t offset, std::uint32_t size) {
  fuse_read_in in{};
  in.fh = file.handle;
  in.offset = offset;
  in.size = size;
  const Answer answer = call(FUSE_READ, file.inode, raw(in));
  EXPECT_EQ(answer.error, 0);
  return answer.bytes;
}

void FuseRig::release(const Opened& file) {
  fuse_release_in in{};
  in.fh = file.handle;
  EXPECT_EQ(error_of(FUSE_RELEASE, file.inode, raw(in)), 0);
}

void FuseRig::forget(std::uint64_t node, std::uint64_t count) {
  fuse_forget_in in{};
  in.nlookup = count;
  kernel->send(FUSE_FORGET, node, raw(in));
  attributes(FUSE_ROOT_ID);  // FORGET is not answered; what is sent behind it is
}

std::vector<ListedEntry> FuseRig::list(std::uint64_t node, std::uint64_t handle,
                                       std::uint64_t position, std::uint32_t size,
                                       bool with_attributes) {
  fuse_read_in in{};
  in.fh = handle;
  in.offset = position;
  in.size = size;
  const Answer answer = call(with_attributes ? FUSE_READDIRPLUS : FUSE_READDIR, node, raw(in));
  EXPECT_EQ(answer.error, 0);
  EXPECT_LE(answer.bytes.size(), size);
  return parse_listing(answer.bytes, with_attributes);
}

UmountReport FuseRig::umount_report() {
  const MonoTime asked_at = events.now();
  const Answer answer = get_xattr(kRootInode.value, kUmountReportAttribute, kUmountReportBytesMax);
  umount_report_took = events.now() - asked_at;
  EXPECT_EQ(answer.error, 0);
  const auto report = decode_umount_report(answer.bytes);
  EXPECT_TRUE(report);
  return report ? *report : UmountReport{};
}

Answer FuseRig::get_xattr(std::uint64_t node, const std::string& name, std::uint32_t size) {
  fuse_getxattr_in in{};
  in.size = size;
  return call(FUSE_GETXATTR, node, raw(in) + terminated(name));
}

int FuseRig::set_xattr(std::uint64_t node, const std::string& name, const std::string& value,
                       std::uint32_t flags) {
  // The short form: the longer one is for kernels that were told FUSE_SETXATTR_EXT.
  std::string head(FUSE_COMPAT_SETXATTR_IN_SIZE, '\0');
  const auto size = static_cast<std::uint32_t>(value.size());
  std::memcpy(head.data(), &size, sizeof size);
  std::memcpy(head.data() + sizeof size, &flags, sizeof flags);
  return error_of(FUSE_SETXATTR, node, head + terminated(name) + value);
}

}  // namespace dfs::fuse
