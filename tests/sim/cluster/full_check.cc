#include "tests/sim/cluster/full_check.h"

#include <memory>

namespace dfs::sim {
namespace {

using std::chrono::seconds;

constexpr seconds kCallLimit{60};
constexpr std::uint64_t kPiecesMax = 100;
// For the chunks to be sealed and deleted, and for the master and the client to hear of it.
constexpr int kWaitsMax = 120;

std::string piece_of(std::uint64_t number, std::uint32_t size_bytes) {
  return std::string(size_bytes, static_cast<char>('a' + number % 26));
}

}  // namespace

template <class T>
Result<T> FullCheck::wait_for(const std::function<void(client::Done<T>)>& call) {
  auto answer = std::make_shared<std::optional<Result<T>>>();
  call([answer](Result<T> result) { *answer = std::move(result); });
  if (!events_.run_until([&] { return answer->has_value(); }, kCallLimit)) {
    return make_error(ErrorCode::kTimedOut, "no answer");
  }
  return std::move(**answer);
}

std::string FullCheck::run() {
  const auto file = make("filler");
  if (!file) {
    return std::string("no file can be made: ") + error_code_name(file.code());
  }
  std::string problem = fill(*file);
  if (problem.empty()) {
    problem = read_back(*file);
  }
  client_.release(*file);
  if (problem.empty()) {
    const auto removed =
        wait_for<Unit>([&](auto done) { client_.unlink(kRootInode, "filler", std::move(done)); });
    problem = removed ? write_again()
                      : std::string("nothing can be removed: ") + error_code_name(removed.code());
  }
  return problem;
}

Result<client::HandleId> FullCheck::make(const std::string& name) {
  client::CreateArguments arguments;
  arguments.parent = kRootInode;
  arguments.name = name;
  arguments.mode = kModeRegular | 0600;
  DFS_TRY(const auto opened, wait_for<client::OpenedFile>([&](auto done) {
            client_.create(arguments, {.write = true}, std::move(done));
          }));
  return opened.handle;
}

Result<Unit> FullCheck::write(client::HandleId file, std::uint64_t piece) {
  DFS_TRY([[maybe_unused]] const std::uint64_t offset, wait_for<std::uint64_t>([&](auto done) {
            client_.write(file, {.offset = piece * kPieceBytes},
                          Buffer::copy_of(piece_of(piece, kPieceBytes)), std::move(done));
          }));
  return ok();
}

std::string FullCheck::fill(client::HandleId file) {
  Result<Unit> written = ok();
  for (pieces_ = 0; written && pieces_ < kPiecesMax; pieces_ += written ? 1 : 0) {
    written = write(file, pieces_);
  }
  if (written.code() != ErrorCode::kNoSpace || pieces_ == 0) {
    return "write " + std::to_string(pieces_) +
           " into little room says: " + error_code_name(written.code());
  }
  const auto synced = wait_for<Unit>([&](auto done) { client_.sync(file, std::move(done)); });
  return synced ? "" : std::string("what was taken is lost: ") + error_code_name(synced.code());
}

std::string FullCheck::read_back(client::HandleId file) {
  for (std::uint64_t piece = 0; piece < pieces_; ++piece) {
    const auto got = wait_for<std::vector<Buffer>>(
        [&](auto done) { client_.read(file, piece * kPieceBytes, kPieceBytes, std::move(done)); });
    std::string all;
    for (const Buffer& buffer : got ? *got : std::vector<Buffer>{}) {
      all += buffer.text();
    }
    if (all != piece_of(piece, kPieceBytes)) {
      return "what was written into little room is read as something else";
    }
  }
  return "";
}

std::string FullCheck::write_again() {
  const auto file = make("after");
  if (!file) {
    return std::string("no file can be made: ") + error_code_name(file.code());
  }
  Result<Unit> written = write(*file, 0);
  for (int waits = 0; written.code() == ErrorCode::kNoSpace && waits < kWaitsMax; ++waits) {
    events_.run_for(seconds(1));
    written = write(*file, 0);
  }
  const auto synced = wait_for<Unit>([&](auto done) { client_.sync(*file, std::move(done)); });
  client_.release(*file);
  return written && synced ? ""
                           : std::string("no room after a removal: ") +
                                 error_code_name(written ? synced.code() : written.code());
}

}  // namespace dfs::sim
