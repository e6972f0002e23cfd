#include "fuse-client/mount/connection_guard.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <sstream>
#include <utility>

namespace dfs::mount {
namespace {

constexpr int kClientDied = SIGHUP;
constexpr std::array kFatalSignals = {SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV};
constexpr const char* kName = "dfs-guard";  // so that whoever kills "dfs" does not kill it too
constexpr std::size_t kMessageBytesMax = 256;

// For the handler of fatal signals; written once, before it is installed.
volatile int fatal_socket = -1;

void send_message(int socket, const std::string& text) {
  // It fails when the other side has ended: then nobody waits for it.
  (void)!send(socket, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
}

// "" when the other side has ended.
std::string receive_message(int socket) {
  std::array<char, kMessageBytesMax> text{};
  ssize_t size = 0;
  do {
    size = recv(socket, text.data(), text.size(), 0);
  } while (size < 0 && errno == EINTR);
  return {text.data(), static_cast<std::size_t>(size < 0 ? 0 : size)};
}

// --- The guard -----------------------------------------------------------------------------------

// The file that ends a connection. With fusectl not mounted, root can have it all the same.
real::OwnedFd open_abort(const std::string& connection) {
  constexpr int kFlags = O_WRONLY | O_CLOEXEC;
  real::OwnedFd mounted(
      open(("/sys/fs/fuse/connections/" + connection + "/abort").c_str(), kFlags));
  if (mounted.is_open() || errno != ENOENT) {
    return mounted;
  }
  const real::OwnedFd context(fsopen("fusectl", FSOPEN_CLOEXEC));
  if (!context.is_open() ||
      fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) {
    return {};
  }
  const real::OwnedFd tree(fsmount(context.get(), FSMOUNT_CLOEXEC, 0));
  return real::OwnedFd(openat(tree.get(), (connection + "/abort").c_str(), kFlags));
}

// Returns a descriptor that becomes readable when the parent's main thread ends; none if it has.
real::OwnedFd watch_parent(pid_t parent) {
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, nullptr);
  sigset_t died;
  sigemptyset(&died);
  sigaddset(&died, kClientDied);
  real::OwnedFd signals(signalfd(-1, &died, SFD_CLOEXEC));
  if (prctl(PR_SET_PDEATHSIG, kClientDied) != 0 || getppid() != parent) {
    return {};
  }
  return signals;
}

// Keeps nothing of the client's open, and no terminal.
void let_go_of_files(int socket) {
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    dup2(null, fd);
  }
  const auto kept = static_cast<unsigned>(socket);
  close_range(STDERR_FILENO + 1, kept - 1, 0);
  close_range(kept + 1, ~0U, 0);
}

// In lists of processes it is not to look like a second client.
void take_name() {
  prctl(PR_SET_NAME, kName);
  std::ifstream file("/proc/self/stat");
  std::string stat((std::istreambuf_iterator<char>(file)), {});
  // proc(5): the 48th and 49th field are where the command line begins and ends in memory; what
  // follows the parenthesis is the third.
  std::istringstream fields(stat.substr(std::min(stat.rfind(')') + 1, stat.size())));
  std::string skipped;
  for (int field = 3; field < 48; ++field) {
    fields >> skipped;
  }
  std::uintptr_t begin = 0;
  std::uintptr_t end = 0;
  if (fields >> begin >> end && end > begin + std::strlen(kName)) {
    auto* const line = reinterpret_cast<char*>(begin);
    std::memset(line, 0, end - begin);
    std::snprintf(line, end - begin, "%s", kName);
  }
}

[[noreturn]] void run_guard(int socket, pid_t parent) {
  take_name();
  let_go_of_files(socket);
  const real::OwnedFd signals = watch_parent(parent);
  const std::string connection = signals.is_open() ? receive_message(socket) : "";
  if (connection.empty() || chdir("/") != 0) {
    _exit(0);
  }
  const real::OwnedFd abort_file = open_abort(connection);
  send_message(socket, abort_file.is_open() ? "guarded" : std::strerror(errno));
  std::array<pollfd, 2> watched = {pollfd{.fd = socket, .events = POLLIN, .revents = 0},
                                   pollfd{.fd = signals.get(), .events = POLLIN, .revents = 0}};
  while (poll(watched.data(), watched.size(), -1) < 0) {
  }
  // A connection that is over has no such file any more: then this does nothing.
  _exit(abort_file.is_open() && write(abort_file.get(), "1", 1) == 1 ? 0 : 1);
}

// --- The client ----------------------------------------------------------------------------------

void on_fatal_signal(int signal) {
  const int error = errno;
  (void)!send(fatal_socket, "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
  errno = error;
  raise(signal);  // as without this handler, which is used once
}

void end_connection_on_fatal_signals(int socket) {
  fatal_socket = socket;
  struct sigaction action {};
  action.sa_handler = on_fatal_signal;
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  for (const int signal : kFatalSignals) {
    sigaction(signal, &action, nullptr);
  }
}

}  // namespace

Result<ConnectionGuard> ConnectionGuard::start() {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    return make_error(ErrorCode::kIo, std::string("socketpair: ") + std::strerror(errno));
  }
  real::OwnedFd ours(ends[0]);
  const real::OwnedFd guards(ends[1]);
  const pid_t client = getpid();
  const pid_t child = fork();
  if (child < 0) {
    return make_error(ErrorCode::kIo, std::string("fork: ") + std::strerror(errno));
  }
  if (child == 0) {
    run_guard(guards.get(), client);
  }
  return ConnectionGuard(std::move(ours));
}

Status ConnectionGuard::guard(const std::string& device) {
  send_message(socket_.get(), device.substr(device.find(':') + 1));
  const std::string answer = receive_message(socket_.get());
  if (answer != "guarded") {
    return make_error(ErrorCode::kNotSupported,
                      "cannot open /sys/fs/fuse/connections/" +
                          device.substr(device.find(':') + 1) +
                          "/abort: " + (answer.empty() ? "its process has ended" : answer));
  }
  end_connection_on_fatal_signals(socket_.get());
  return ok();
}

void ConnectionGuard::abort_connection() { send_message(socket_.get(), "x"); }

}  // namespace dfs::mount
