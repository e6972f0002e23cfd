// What people read: columns that line up, sizes with units, and no byte that drives a terminal.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace dfs::admin {

// Rows of cells; the first row is the heading. Numbers are right-aligned if every cell below the
// heading begins with a digit.
std::string format_table(const std::vector<std::vector<std::string>>& rows);

// Rows of a name and what is said of it, the second column lined up.
std::string format_facts(const std::vector<std::vector<std::string>>& rows);

// "0 B", "1.5 KiB", "12 GiB": at most four digits.
std::string format_size(std::uint64_t bytes);

// Bytes that are not printable UTF-8 as \xNN, backslashes doubled.
std::string escape(const std::string& bytes);

}  // namespace dfs::admin
