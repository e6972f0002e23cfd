// ACLs for tests, encoded as the kernel does, from the words of getfacl(1) with numeric ids:
// "u::rwx,u:7:r-x,g::r-x,m::rwx,o::---".
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

namespace dfs::master {

inline void append_number(std::string& bytes, std::uint32_t number, int size) {
  for (int i = 0; i < size; ++i) {
    bytes.push_back(static_cast<char>(number >> (8 * i)));
  }
}

inline std::string acl_bytes(const std::string& text) {
  std::string bytes;
  append_number(bytes, 2, 4);
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find(',', at), text.size());
    const std::size_t first = text.find(':', at);
    const std::size_t second = text.find(':', first + 1);
    const std::string id = text.substr(first + 1, second - first - 1);
    std::uint32_t tag = 0;
    switch (text[at]) {
      case 'u': tag = id.empty() ? 0x01 : 0x02; break;
      case 'g': tag = id.empty() ? 0x04 : 0x08; break;
      case 'm': tag = 0x10; break;
      default: tag = 0x20; break;
    }
    std::uint32_t permissions = 0;
    for (std::size_t letter = second + 1; letter < end; ++letter) {
      permissions |= text[letter] == 'r'   ? 4
                     : text[letter] == 'w' ? 2
                     : text[letter] == 'x' ? 1
                                           : 0;
    }
    append_number(bytes, tag, 2);
    append_number(bytes, permissions, 2);
    append_number(bytes, id.empty() ? 0xffffffff : static_cast<std::uint32_t>(std::stoul(id)), 4);
    at = end + 1;
  }
  return bytes;
}

}  // namespace dfs::master
