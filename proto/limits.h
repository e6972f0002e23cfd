// Every bound of the protocol and of what is stored through it, with its reason and what happens at
// it. Changing one changes what peers accept: raise kProtocolVersion when old peers would refuse.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace dfs {

inline constexpr std::uint32_t kProtocolVersion = 2;

// --- Names and the namespace -------------------------------------------------------------------
inline constexpr std::size_t kNameBytesMax = 255;       // NAME_MAX; kNameTooLong
inline constexpr std::size_t kSymlinkBytesMax = 4095;   // PATH_MAX less NUL; kNameTooLong
inline constexpr std::size_t kXattrNameBytesMax = 255;  // XATTR_NAME_MAX; kBufferTooSmall (ERANGE)
inline constexpr std::size_t kXattrValueBytesMax = 64 * 1024;  // the kernel's own; kArgumentTooBig
inline constexpr std::size_t kXattrListBytesMax = 64 * 1024;   // the kernel's own; kNoSpace on set
inline constexpr std::uint32_t kLinkCountMax = 65000;          // as ext4; kTooManyLinks
inline constexpr std::uint64_t kFileBytesMax = std::uint64_t{1} << 44;  // 16 TiB; kFileTooBig
inline constexpr std::uint32_t kReplicasMax = 16;                       // kInvalidArgument

// --- Chunks and blocks -------------------------------------------------------------------------
inline constexpr std::uint32_t kChunkBytesMax = 64u << 20;        // the writer opens another chunk
inline constexpr std::uint32_t kBlockPayloadBytesMax = 1u << 20;  // the writer starts another block
inline constexpr std::uint32_t kChecksumCellBytes = 4096;         // one CRC32C for each cell
// One append: a few large or many small blocks; bounds memory and time of one request. kTooLarge.
inline constexpr std::uint32_t kAppendBytesMax = 4u << 20;
inline constexpr std::uint32_t kAppendBlocksMax = 4096;
inline constexpr std::uint32_t kReadNeighboursBytesMax = 512u << 10;  // no more come along
inline constexpr std::uint32_t kReadRangesMax = 256;                  // one read request; kTooLarge
inline constexpr std::uint32_t kReadBytesMax = 4u << 20;              // its answer; kTooLarge
// Smallest room worth a new chunk; with less on too many servers the cluster is full.
inline constexpr std::uint32_t kChunkCapacityBytesMin = 1u << 20;

// --- Extents -----------------------------------------------------------------------------------
// Extents are kept in one row for each window of a file, so that no row and no operation grows
// with the file.
inline constexpr std::uint32_t kExtentWindowBytes = 4u << 20;
// Above this many pieces the writer rewrites the window as whole blocks; above kWindowPiecesMax
// the master refuses the commit with kTooManyExtents.
inline constexpr std::uint32_t kWindowPiecesRewrite = 1024;
inline constexpr std::uint32_t kWindowPiecesMax = 8192;

// --- Messages ----------------------------------------------------------------------------------
inline constexpr std::size_t kHeadBytesMax = 2u << 20;   // an encoded message; refused and logged
inline constexpr std::size_t kBulkBytesMax = 5u << 20;   // its bulk frame; refused and logged
inline constexpr std::size_t kListItemsMax = 65536;      // any list in a message; kBadMessage
inline constexpr std::size_t kReaddirEntriesMax = 1024;  // one page of a directory
inline constexpr std::size_t kReaddirBytesMax = 256 * 1024;
inline constexpr std::size_t kCommitFilesMax = 2048;  // one CommitExtents; kTooLarge
inline constexpr std::size_t kCommitExtentsMax = 8192;
inline constexpr std::size_t kReleasedLeasesMax = 4096;   // in one ReleaseWriteLeases
inline constexpr std::size_t kReclaimInodesMax = 65'536;  // one page of ReclaimLeases
inline constexpr std::size_t kLeasesMax = 1u << 20;       // of a master; older ones are recalled
// One Allocate that removes or one CloneRange: bounds the windows one operation touches. kTooLarge.
inline constexpr std::uint64_t kRangeBytesMax = std::uint64_t{1} << 30;
inline constexpr std::size_t kLookupExtentsMax = 8;  // extents sent along with an entry

// --- Connections and sessions ------------------------------------------------------------------
inline constexpr std::size_t kCallsInFlightMax = 1024;  // of one RpcClient; further calls queue
inline constexpr std::size_t kCallsQueuedMax = 16384;   // behind those; kBusy
inline constexpr std::size_t kChunkLinksMax = 256;      // of a client; those idle longest go
inline constexpr std::size_t kSessionsMax = 4096;       // of a master; kBusy
inline constexpr std::size_t kNodesMax = 1024;          // chunkservers of a master; kBusy
inline constexpr std::size_t kNodeDirectoriesMax = 64;  // data directories of a chunkserver
inline constexpr std::size_t kPinsMax = 1u << 20;       // open inodes of a session; kBusy
inline constexpr std::size_t kKeptRepliesMax = 4096;    // of a session, not yet acknowledged; kBusy

// --- Calls that wait, for people: what is beyond is counted and not told ------------------------
inline constexpr std::chrono::milliseconds kWaitNoted{1000};
inline constexpr std::size_t kToldWaitsMax = 32;        // of a session, in one KeepAlive
inline constexpr std::size_t kListedWaitsMax = 256;     // one page of ListWaits
inline constexpr std::size_t kListedOthersMax = 4;      // of those one call waits for
inline constexpr std::size_t kWaitWordBytesMax = 64;    // a name of an operation, an address
inline constexpr std::size_t kWaitNameBytesMax = 255;   // what is told of a client's name
inline constexpr std::size_t kWaitPathBytesMax = 4095;  // a longer path is not told

// --- Locks of programs; a wait counts as two. kTooManyLocks (ENOLCK) at each -------------------
// What one file, one session and a whole master can have. A session's fit into one ReclaimLocks.
inline constexpr std::size_t kLocksPerFileMax = 4096;
inline constexpr std::size_t kLocksPerSessionMax = 16'384;
inline constexpr std::size_t kLocksMax = 262'144;
// SetLocks of a session that are not answered; more wait at the client.
inline constexpr std::size_t kLockCallsMax = 256;

// One ReplayChanges is closed when it is that large; a master holds so much of one session and
// ignores further pages, which an honest client never has.
inline constexpr std::size_t kReplayPageBytes = 512 * 1024;
inline constexpr std::size_t kReplayBytesMax = 16u << 20;

// --- Times (defaults; the servers tell their clients the values in force) -----------------------
inline constexpr std::chrono::milliseconds kPingInterval{500};
inline constexpr std::chrono::milliseconds kLivenessTimeout{2000};  // silent this long: down
inline constexpr std::chrono::milliseconds kSessionKeepAlive{3000};
inline constexpr std::chrono::milliseconds kSessionTimeout{15000};
inline constexpr std::chrono::milliseconds kHeartbeatInterval{5000};
inline constexpr std::uint32_t kHeartbeatMissesMax = 3;

static_assert(kBlockPayloadBytesMax % kChecksumCellBytes == 0);
static_assert(kExtentWindowBytes % kBlockPayloadBytesMax == 0);
static_assert(kAppendBytesMax < kBulkBytesMax && kReadBytesMax < kBulkBytesMax);
// The last change of a page may lie beyond its limit.
static_assert(kReplayPageBytes + 2 * kXattrValueBytesMax < kHeadBytesMax);
static_assert(kListedWaitsMax *
                  (kWaitPathBytesMax + kNameBytesMax + 2 * kWaitWordBytesMax + kWaitNameBytesMax +
                   (1 + kListedOthersMax) * (kWaitNameBytesMax + 32)) <
              kHeadBytesMax);
static_assert(kLocksPerSessionMax * 64 < kHeadBytesMax && kLocksPerSessionMax <= kListItemsMax);
static_assert(kWindowPiecesRewrite < kWindowPiecesMax);
static_assert(kRangeBytesMax % kExtentWindowBytes == 0);
static_assert(kCommitExtentsMax <= kListItemsMax && kReaddirEntriesMax <= kListItemsMax);

}  // namespace dfs
