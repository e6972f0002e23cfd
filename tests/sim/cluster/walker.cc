#include "tests/sim/cluster/walker.h"

#include <utility>

namespace dfs::sim {
namespace {

constexpr std::uint32_t kReadBytes = 1u << 20;

std::string describe(InodeId inode) { return "inode " + std::to_string(inode.value); }

}  // namespace

Walker::Walker(client::Client& client, SimRandom random, InodeId root,
               client::Done<ObservedTree> done)
    : client_(client), random_(random), done_(std::move(done)) {
  tree_.root = root;
}

void Walker::start() {
  client_.get_attributes(tree_.root,
                         expect<Attributes>("root", [this](const Attributes& attributes) {
                           take_node(attributes);
                           next();
                         }));
}

void Walker::next() {
  if (steps_.empty()) {
    done_(std::move(tree_));
    return;
  }
  const Step step = std::move(steps_.front());
  steps_.pop_front();
  step();
}

void Walker::fail(const std::string& where, const Error& error) {
  done_(make_error(error.code, where + ": " + error.detail));
}

void Walker::take_node(const Attributes& attributes) {
  const InodeId inode = attributes.inode;
  tree_.nodes[inode].attributes = attributes;
  steps_.push_back([this, inode] { read_xattrs(inode); });
  if (attributes.is_directory()) {
    steps_.push_back([this, inode] { list(inode, 0); });
  } else if (attributes.is_regular()) {
    steps_.push_back([this, inode] { read_file(inode); });
  } else if (attributes.is_symlink()) {
    steps_.push_back([this, inode] {
      client_.read_link(inode, expect<std::string>(describe(inode), [this, inode](auto target) {
                          tree_.nodes[inode].symlink_target = target;
                          next();
                        }));
    });
  }
}

void Walker::list(InodeId directory, std::uint64_t cookie) {
  const auto page = static_cast<std::uint32_t>(1 + random_.below(20));
  client_.read_directory(directory, cookie, page,
                         expect<ReadDirectoryReply>("listing of " + describe(directory),
                                                    [this, directory](const auto& reply) {
                                                      take_page(directory, reply);
                                                    }));
}

void Walker::take_page(InodeId directory, const ReadDirectoryReply& page) {
  auto& children = tree_.nodes[directory].children;
  std::uint64_t last = 0;
  for (const DirectoryEntry& entry : page.entries) {
    if (!children.emplace(entry.name, entry.attributes.inode).second) {
      fail(entry.name, make_error(ErrorCode::kInternal, "listed twice"));
      return;
    }
    last = entry.cookie;
    steps_.push_back([this, directory, entry] { look_up(directory, entry); });
  }
  if (page.end) {
    next();
  } else if (page.entries.empty()) {
    fail(describe(directory), make_error(ErrorCode::kInternal, "an empty page is not the last"));
  } else {
    list(directory, last);
  }
}

void Walker::look_up(InodeId directory, const DirectoryEntry& entry) {
  client_.lookup(directory, entry.name,
                 expect<Attributes>(entry.name, [this, entry](const Attributes& attributes) {
                   if (attributes.inode != entry.attributes.inode) {
                     fail(entry.name, make_error(ErrorCode::kInternal, "listed as another inode"));
                     return;
                   }
                   if (!tree_.nodes.contains(attributes.inode)) {
                     take_node(attributes);
                   }
                   next();
                 }));
}

void Walker::read_xattrs(InodeId inode) {
  client_.list_xattrs(
      inode, expect<std::vector<std::string>>(describe(inode), [this, inode](const auto& names) {
        for (const std::string& name : names) {
          steps_.push_front([this, inode, name] {
            client_.get_xattr(inode, name, expect<std::string>(name, [this, inode, name](auto v) {
                                tree_.nodes[inode].xattrs[name] = v;
                                next();
                              }));
          });
        }
        next();
      }));
}

void Walker::read_file(InodeId inode) {
  client_.open(inode, {},
               expect<client::OpenedFile>(
                   "open of " + describe(inode),
                   [this, inode](const client::OpenedFile& file) { read_on(inode, file.handle); }));
}

void Walker::read_on(InodeId inode, client::HandleId handle) {
  const std::uint64_t offset = tree_.nodes[inode].contents.size();
  const auto take = [this, inode, handle](Result<std::vector<Buffer>> pieces) {
    if (!pieces) {
      client_.release(handle);
      fail("read of " + describe(inode), pieces.error());
      return;
    }
    std::string& contents = tree_.nodes[inode].contents;
    const std::size_t before = contents.size();
    for (const Buffer& piece : *pieces) {
      contents += piece.text();
    }
    if (contents.size() - before == kReadBytes) {
      read_on(inode, handle);
      return;
    }
    client_.release(handle);
    next();
  };
  client_.read(handle, offset, kReadBytes, take);
}

}  // namespace dfs::sim
