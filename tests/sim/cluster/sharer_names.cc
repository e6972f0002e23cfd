// Operations of a sharer on names and attributes.
#include "tests/sim/cluster/sharer.h"

namespace dfs::sim {
namespace {

using coherence::Kind;
using coherence::Operation;

}  // namespace

void Sharer::on_names() {
  const std::uint64_t dice = random_.below(100);
  if (dice < 12) {
    op_create(Kind::kCreate, random_name());
  } else if (dice < 20) {
    op_create(Kind::kOpen, random_name());
  } else if (dice < 25) {
    op_lookup(random_name());
  } else if (dice < 29) {
    op_make_unnamed();
  } else if (dice < 37) {
    op_link_open();
  } else if (dice < 47) {
    op_unlink(random_name());
  } else if (dice < 62) {
    op_rename(dice < 55 ? Kind::kRename : dice < 58 ? Kind::kRenameNoReplace : Kind::kExchange);
  } else if (dice < 70) {
    op_link();
  } else if (dice < 92) {
    op_stat(random_name());
  } else {
    op_list();
  }
}

void Sharer::opened(const client::OpenedFile& file, bool is_appended, bool had_no_name) {
  if (files_.size() == kFilesOpenMax) {
    const auto oldest = files_.begin() + static_cast<std::ptrdiff_t>(random_.below(kFilesOpenMax));
    in_client([handle = oldest->handle](client::Client& client) { client.release(handle); });
    files_.erase(oldest);
  }
  files_.push_back({.handle = file.handle,
                    .inode = file.attributes.inode.value,
                    .is_appended = is_appended,
                    .had_no_name = had_no_name});
}

void Sharer::op_create(Kind kind, const std::string& name) {
  begin(make(kind, name));
  const client::Done<client::OpenedFile> done =
      [this, is_appended = name == kAppendedName](const Result<client::OpenedFile>& file) {
        if (file) {
          ops_.front().inode = file->attributes.inode.value;
          opened(*file, is_appended, false);
        }
        finish(file.code());
      };
  kind == Kind::kCreate ? create(name, done) : create_or_open(name, done);
}

void Sharer::create(const std::string& name, const client::Done<client::OpenedFile>& done) {
  client::CreateArguments arguments;
  arguments.parent = directory_;
  arguments.name = name;
  arguments.mode = kModeRegular | 0644;
  ask_client([this, arguments, done](client::Client& client) {
    return client.create(arguments, {.write = true}, answer<client::OpenedFile>(done));
  });
}

void Sharer::create_or_open(const std::string& name, const client::Done<client::OpenedFile>& done,
                            int tries) {
  const auto again = [this, name, tries, done] {
    if (tries > 1) {
      create_or_open(name, done, tries - 1);
    } else {
      done(make_error(ErrorCode::kStale, "the name comes and goes"));
    }
  };
  create(name, [this, name, done, again](Result<client::OpenedFile> made) {
    if (made.code() != ErrorCode::kExists) {
      done(std::move(made));
      return;
    }
    ask_client([this, name, done, again](client::Client& client) {
      return client.lookup(directory_, name,
                           answer<Attributes>([this, done, again](Result<Attributes> found) {
                             if (found) {
                               open_there(found->inode, done, again);
                             } else if (found.code() == ErrorCode::kNotFound) {
                               again();
                             } else {
                               done(std::move(found).error());
                             }
                           }));
    });
  });
}

void Sharer::open_there(InodeId inode, const client::Done<client::OpenedFile>& done,
                        const std::function<void()>& when_gone) {
  ask_client([this, inode, done, when_gone](client::Client& client) {
    return client.open(
        inode, {.write = true}, answer<client::OpenedFile>([done, when_gone](auto file) {
          const bool is_gone =
              file.code() == ErrorCode::kNotFound || file.code() == ErrorCode::kStale;
          is_gone ? when_gone() : done(std::move(file));
        }));
  });
}

// Nobody sees that, so it is no operation of the directory.
void Sharer::op_make_unnamed() {
  client::CreateArguments arguments;
  arguments.parent = directory_;
  arguments.mode = kModeRegular | 0644;
  arguments.is_unnamed = true;
  begin(std::vector<Operation>{make(Kind::kSync)});
  ask_client([this, arguments](client::Client& client) {
    return client.create(arguments, {.write = true},
                         answer<client::OpenedFile>([this](Result<client::OpenedFile> file) {
                           if (file) {
                             opened(*file, false, true);
                           }
                           finish(file.code());
                         }));
  });
}

// linkat(2) of an open file; mostly of one that has no name.
void Sharer::op_link_open() {
  std::vector<OpenFile> found;
  for (const OpenFile& file : files_) {
    if (!file.is_appended && (file.had_no_name || random_.below(3) == 0)) {
      found.push_back(file);
    }
  }
  if (found.empty()) {
    return;
  }
  const InodeId inode{found[random_.below(found.size())].inode};
  Operation op = make(Kind::kLinkOpen, {}, random_name());
  op.file = inode.value;
  op.inode = inode.value;
  begin(op);
  ask_client([this, inode, name = op.other](client::Client& client) {
    return client.link(inode, directory_, name,
                       answer<Attributes>([this](auto linked) { finish(linked.code()); }));
  });
}

void Sharer::op_lookup(const std::string& name) {
  begin(make(Kind::kLookup, name));
  ask_client([this, name](client::Client& client) {
    return client.lookup(directory_, name, answer<Attributes>([this, name](auto found) {
                           if (!found) {
                             finish(found.code());
                             return;
                           }
                           ops_.front().inode = found->inode.value;
                           open_found(found->inode.value, name == kAppendedName);
                         }));
  });
}

// It may be gone in between; what the name was is true all the same.
void Sharer::open_found(std::uint64_t inode, bool is_appended) {
  ask_client([this, inode, is_appended](client::Client& client) {
    return client.open(
        InodeId{inode}, {.write = true}, answer<client::OpenedFile>([this, is_appended](auto file) {
          if (file) {
            opened(*file, is_appended, false);
          }
          const bool is_gone =
              file.code() == ErrorCode::kNotFound || file.code() == ErrorCode::kStale;
          finish(is_gone ? ErrorCode::kOk : file.code());
        }));
  });
}

void Sharer::op_unlink(const std::string& name) {
  begin(make(Kind::kUnlink, name));
  ask_client([this, name](client::Client& client) {
    return client.unlink(directory_, name,
                         answer<Unit>([this](Result<Unit> done) { finish(done.code()); }));
  });
}

void Sharer::op_rename(Kind kind) {
  RenameRequest request;
  request.parent = request.new_parent = directory_;
  request.name = random_name();
  while (request.new_name.empty() || request.new_name == request.name) {
    request.new_name = random_name();
  }
  request.mode = static_cast<std::uint8_t>(kind == Kind::kRename     ? RenameMode::kReplace
                                           : kind == Kind::kExchange ? RenameMode::kExchange
                                                                     : RenameMode::kNoReplace);
  begin(make(kind, request.name, request.new_name));
  ask_client([this, request](client::Client& client) {
    return client.rename(request, answer<RenameReply>([this](const Result<RenameReply>& done) {
                           finish(done.code());
                         }));
  });
}

// As link(2): the name is resolved, and what it was is linked.
void Sharer::op_link() {
  const Operation op = make(Kind::kLink, random_name(), random_name());
  if (op.name == op.other) {
    return;
  }
  begin(op);
  ask_client([this, op](client::Client& client) {
    return client.lookup(
        directory_, op.name, answer<Attributes>([this, op](Result<Attributes> found) {
          if (!found) {
            finish(found.code());
            return;
          }
          ask_client([this, op, inode = found->inode](client::Client& again) {
            return again.link(inode, directory_, op.other,
                              answer<Attributes>([this](Result<Attributes> linked) {
                                const bool is_gone = linked.code() == ErrorCode::kStale;
                                finish(is_gone ? ErrorCode::kNotFound : linked.code());
                              }));
          });
        }));
  });
}

void Sharer::op_stat(const std::string& name) {
  begin(make(Kind::kStat, name));
  ask_client([this, name](client::Client& client) {
    return client.lookup(directory_, name, answer<Attributes>([this](Result<Attributes> found) {
                           if (found) {
                             ops_.front().inode = found->inode.value;
                             ops_.front().links = found->link_count;
                             ops_.front().size = found->size_bytes;
                           }
                           finish(found.code());
                         }));
  });
}

void Sharer::op_fstat(const OpenFile& file) {
  begin(make_on(Kind::kFstat, file));
  ask_client([this, inode = file.inode](client::Client& client) {
    return client.get_attributes(InodeId{inode}, answer<Attributes>([this](auto found) {
                                   if (found) {
                                     ops_.front().links = found->link_count;
                                     ops_.front().size = found->size_bytes;
                                   }
                                   finish(found.code());
                                 }));
  });
}

void Sharer::op_list() {
  begin(make(Kind::kList));
  list_on(0);
}

void Sharer::list_on(std::uint64_t cookie) {
  const auto entries_max = static_cast<std::uint32_t>(1 + random_.below(5));
  ask_client([this, cookie, entries_max](client::Client& client) {
    return client.read_directory(
        directory_, cookie, entries_max,
        answer<ReadDirectoryReply>([this](Result<ReadDirectoryReply> page) {
          if (!page) {
            finish(page.code());
            return;
          }
          std::uint64_t last = 0;
          for (const DirectoryEntry& entry : page->entries) {
            last = entry.cookie;
            if (entry.name != kSharedLockName) {
              ops_.front().listing.push_back({entry.name, entry.attributes.inode.value});
            }
          }
          page->end ? finish(ErrorCode::kOk) : list_on(last);
        }));
  });
}

void Sharer::op_set_xattr(const OpenFile& file) {
  Operation op = make_on(Kind::kSetXattr, file);
  op.value = random_.below(3) == 0 ? 0 : next_value();
  begin(op);
  ask_client([this, op](client::Client& client) {
    const auto done = answer<Unit>([this](Result<Unit> result) { finish(result.code()); });
    if (op.value == 0) {
      return client.remove_xattr(InodeId{op.file}, kSharedXattr, done);
    }
    SetXattrRequest request;
    request.inode = InodeId{op.file};
    request.name = kSharedXattr;
    request.value = xattr_of(op.value);
    return client.set_xattr(request, done);
  });
}

void Sharer::op_get_xattr(const OpenFile& file) {
  begin(make_on(Kind::kGetXattr, file));
  ask_client([this, inode = file.inode](client::Client& client) {
    return client.get_xattr(InodeId{inode}, kSharedXattr,
                            answer<std::string>([this](Result<std::string> value) {
                              if (value) {
                                ops_.front().ids = xattr_values(*value);
                              }
                              const bool is_absent = value.code() == ErrorCode::kNoAttribute;
                              finish(is_absent ? ErrorCode::kOk : value.code());
                            }));
  });
}

}  // namespace dfs::sim
