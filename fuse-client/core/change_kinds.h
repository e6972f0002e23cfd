// Which requests to the master change something, and what may be done with them when an answer, the
// session or the power of the master's machine is lost.
#pragma once

#include <type_traits>

#include "proto/data_messages.h"
#include "proto/namespace_messages.h"
#include "proto/xattr_messages.h"

namespace dfs::client {

template <class T, class... Ts>
inline constexpr bool kIsOneOf = (std::is_same_v<T, Ts> || ...);

// Requests that change something get a sequence number.
template <class Request>
inline constexpr bool kIsChange =
    kIsOneOf<Request, SetAttributesRequest, CreateRequest, UnlinkRequest, RemoveDirectoryRequest,
             RenameRequest, LinkRequest, SetXattrRequest, RemoveXattrRequest, CommitExtentsRequest,
             OpenChunkRequest, SealChunkRequest, AllocateRequest, CloneRangeRequest>;

// Changes that do no harm when applied twice: repeated in a new session.
template <class Request>
inline constexpr bool kIsRepeatable = kIsOneOf<Request, SetAttributesRequest, OpenChunkRequest>;

// Changes that are told again after a loss. A lost chunk is not: it was for this client alone,
// which notices when it commits into it and takes another; and a seal leaves nothing to lose.
template <class Request>
inline constexpr bool kIsKept =
    kIsChange<Request> && !kIsOneOf<Request, OpenChunkRequest, SealChunkRequest>;

template <class Request>
inline constexpr bool kCanFreeInode = kIsOneOf<Request, UnlinkRequest, RenameRequest>;

// Changes of what their names stood for.
template <class Request>
inline constexpr bool kChangesNamed =
    kIsOneOf<Request, UnlinkRequest, RemoveDirectoryRequest, RenameRequest>;

template <class Request>
inline constexpr bool kChangesLinks = kChangesNamed<Request> || kIsOneOf<Request, LinkRequest>;

}  // namespace dfs::client
