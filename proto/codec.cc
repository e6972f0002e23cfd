#include "proto/codec.h"

// Boost would only add adaptors for types that no message has.
#define MSGPACK_NO_BOOST
#include <limits>
#include <msgpack.hpp>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "common/assert.h"
#include "proto/all_messages.h"
#include "proto/limits.h"

namespace dfs {
namespace {

constexpr std::size_t kNestingMax = 16;  // no message nests deeper than half of this
constexpr std::size_t kErrorDetailBytesMax = 1024;
constexpr std::size_t kHeadBytesTypical = 256;
constexpr std::uint32_t kNanosecondsPerSecond = 1'000'000'000;

// --- Encoding ----------------------------------------------------------------------------------

// What msgpack::packer writes to. A string becomes the head's Buffer without being copied.
struct HeadStream {
  std::string bytes;
  void write(const char* data, std::size_t size_bytes) { bytes.append(data, size_bytes); }
};
using Packer = msgpack::packer<HeadStream>;

template <class Value>
void write_value(Packer& packer, const Value& value);

struct FieldWriter {
  Packer& packer;
  bool has_fields = false;

  template <class... Fields>
  void operator()(const Fields&... fields) {
    has_fields = true;
    packer.pack_array(sizeof...(fields));
    (write_value(packer, fields), ...);
  }
};

template <class Body>
void write_struct(Packer& packer, const Body& body) {
  FieldWriter writer{packer};
  body.visit(writer);
  if (!writer.has_fields) {
    packer.pack_array(0);
  }
}

void write_one(Packer& packer, bool value) { value ? packer.pack_true() : packer.pack_false(); }
void write_one(Packer& packer, std::uint8_t value) { packer.pack_uint8(value); }
void write_one(Packer& packer, std::uint16_t value) { packer.pack_uint16(value); }
void write_one(Packer& packer, std::uint32_t value) { packer.pack_uint32(value); }
void write_one(Packer& packer, std::uint64_t value) { packer.pack_uint64(value); }

void write_one(Packer& packer, const std::string& value) {
  DFS_ASSERT(value.size() <= kHeadBytesMax);
  packer.pack_str(static_cast<std::uint32_t>(value.size()));
  packer.pack_str_body(value.data(), static_cast<std::uint32_t>(value.size()));
}

void write_one(Packer& packer, const Timestamp& value) {
  packer.pack_array(2);
  packer.pack_int64(value.seconds);
  packer.pack_uint32(value.nanoseconds);
}

template <class Tag, class Number>
void write_one(Packer& packer, StrongId<Tag, Number> value) {
  write_one(packer, value.value);
}

template <class Item>
void write_one(Packer& packer, const std::vector<Item>& items) {
  DFS_ASSERT(items.size() <= kListItemsMax);
  packer.pack_array(static_cast<std::uint32_t>(items.size()));
  for (const Item& item : items) {
    write_value(packer, item);
  }
}

template <class Item>
void write_one(Packer& packer, const std::optional<Item>& item) {
  if (item) {
    write_value(packer, *item);
  } else {
    packer.pack_nil();
  }
}

template <class Value>
void write_value(Packer& packer, const Value& value) {
  if constexpr (requires(FieldWriter & writer) { value.visit(writer); }) {
    write_struct(packer, value);
  } else {
    write_one(packer, value);
  }
}

void write_envelope(Packer& packer, const Envelope& envelope) {
  const std::optional<ChangeStamp> stamp =
      envelope.stamp.index == 0 ? std::nullopt : std::optional(envelope.stamp);
  FieldWriter writer{packer};
  writer(envelope.version, static_cast<std::uint8_t>(envelope.kind),
         static_cast<std::uint16_t>(envelope.type), envelope.request_id, envelope.session,
         envelope.sequence, envelope.acknowledged, envelope.deadline_ms,
         static_cast<std::uint16_t>(envelope.code), envelope.detail, stamp, envelope.durable_index,
         envelope.cluster);
}

Buffer finish(HeadStream stream) {
  DFS_ASSERT(stream.bytes.size() <= kHeadBytesMax);
  return Buffer::adopt(std::move(stream.bytes));
}

// --- Decoding ----------------------------------------------------------------------------------

// Each read_one returns whether `object` is of the type and in the range of `value`.
template <class Value>
bool read_value(const msgpack::object& object, Value& value);

struct FieldReader {
  const msgpack::object_array& elements;
  bool good = true;

  // Elements that are not there leave the default; those beyond the known fields are ignored.
  template <class... Fields>
  void operator()(Fields&... fields) {
    std::uint32_t index = 0;
    ((good = good && (index >= elements.size || read_value(elements.ptr[index], fields)), ++index),
     ...);
  }
};

template <class Body>
bool read_struct(const msgpack::object& object, Body& body) {
  if (object.type != msgpack::type::ARRAY) {
    return false;
  }
  FieldReader reader{object.via.array};
  body.visit(reader);
  return reader.good;
}

bool read_one(const msgpack::object& object, bool& value) {
  value = object.type == msgpack::type::BOOLEAN && object.via.boolean;
  return object.type == msgpack::type::BOOLEAN;
}

template <class Number>
requires std::is_unsigned_v<Number>
bool read_one(const msgpack::object& object, Number& value) {
  if (object.type != msgpack::type::POSITIVE_INTEGER ||
      object.via.u64 > std::numeric_limits<Number>::max()) {
    return false;
  }
  value = static_cast<Number>(object.via.u64);
  return true;
}

bool read_one(const msgpack::object& object, std::int64_t& value) {
  if (object.type == msgpack::type::NEGATIVE_INTEGER) {
    value = object.via.i64;
    return true;
  }
  if (object.type != msgpack::type::POSITIVE_INTEGER ||
      object.via.u64 > std::uint64_t{std::numeric_limits<std::int64_t>::max()}) {
    return false;
  }
  value = static_cast<std::int64_t>(object.via.u64);
  return true;
}

bool read_one(const msgpack::object& object, std::string& value) {
  if (object.type != msgpack::type::STR) {
    return false;
  }
  value.assign(object.via.str.ptr, object.via.str.size);
  return true;
}

bool read_one(const msgpack::object& object, Timestamp& value) {
  return object.type == msgpack::type::ARRAY && object.via.array.size == 2 &&
         read_one(object.via.array.ptr[0], value.seconds) &&
         read_one(object.via.array.ptr[1], value.nanoseconds) &&
         value.nanoseconds < kNanosecondsPerSecond;
}

template <class Tag, class Number>
bool read_one(const msgpack::object& object, StrongId<Tag, Number>& value) {
  return read_one(object, value.value);
}

template <class Item>
bool read_one(const msgpack::object& object, std::vector<Item>& items) {
  if (object.type != msgpack::type::ARRAY || object.via.array.size > kListItemsMax) {
    return false;
  }
  items.resize(object.via.array.size);
  for (std::uint32_t i = 0; i < object.via.array.size; ++i) {
    if (!read_value(object.via.array.ptr[i], items[i])) {
      return false;
    }
  }
  return true;
}

template <class Item>
bool read_one(const msgpack::object& object, std::optional<Item>& item) {
  if (object.type == msgpack::type::NIL) {
    item.reset();
    return true;
  }
  return read_value(object, item.emplace());
}

template <class Value>
bool read_value(const msgpack::object& object, Value& value) {
  if constexpr (requires(FieldReader & reader) { value.visit(reader); }) {
    return read_struct(object, value);
  } else {
    return read_one(object, value);
  }
}

// Strings stay in the received bytes, which outlive the objects.
bool keep_in_place(msgpack::type::object_type, std::size_t, void*) { return true; }

struct Unpacked {
  msgpack::object object;  // lives in the zone it was unpacked to
  std::size_t size_bytes = 0;
};

// The msgpack object at the start of `bytes`.
Result<Unpacked> unpack_object(msgpack::zone& zone, std::span<const std::byte> bytes) {
  const msgpack::unpack_limit limit(kListItemsMax, kListItemsMax, kHeadBytesMax, kHeadBytesMax,
                                    kHeadBytesMax, kNestingMax);
  Unpacked unpacked;
  bool referenced = false;
  try {
    unpacked.object =
        msgpack::unpack(zone, reinterpret_cast<const char*>(bytes.data()), bytes.size(),
                        unpacked.size_bytes, referenced, keep_in_place, nullptr, limit);
  } catch (const msgpack::unpack_error& error) {
    return make_error(ErrorCode::kBadMessage, std::string("not msgpack: ") + error.what());
  }
  return unpacked;
}

// Whether `object` is an envelope of some version, and of which.
bool read_version(const msgpack::object& object, std::uint64_t& version) {
  return object.type == msgpack::type::ARRAY && object.via.array.size > 0 &&
         read_one(object.via.array.ptr[0], version);
}

bool read_envelope(const msgpack::object& object, Envelope& envelope) {
  std::uint8_t kind = 0;
  std::uint16_t type = 0;
  std::uint16_t code = 0;
  std::optional<ChangeStamp> stamp;
  FieldReader reader{object.via.array};
  reader(envelope.version, kind, type, envelope.request_id, envelope.session, envelope.sequence,
         envelope.acknowledged, envelope.deadline_ms, code, envelope.detail, stamp,
         envelope.durable_index, envelope.cluster);
  const bool kind_is_known = kind == static_cast<std::uint8_t>(MessageKind::kRequest) ||
                             kind == static_cast<std::uint8_t>(MessageKind::kReply);
  if (!reader.good || !kind_is_known || type == 0) {
    return false;
  }
  envelope.kind = static_cast<MessageKind>(kind);
  envelope.type = static_cast<MessageType>(type);
  envelope.code = error_code_from_wire(code);
  envelope.stamp = stamp.value_or(ChangeStamp{});
  return true;
}

}  // namespace

template <class Body>
Buffer encode_message(const Envelope& envelope, const Body& body) {
  HeadStream stream;
  stream.bytes.reserve(kHeadBytesTypical);
  Packer packer(stream);
  write_envelope(packer, envelope);
  write_struct(packer, body);
  return finish(std::move(stream));
}

Buffer encode_error(const Envelope& envelope) {
  DFS_ASSERT(envelope.code != ErrorCode::kOk);
  HeadStream stream;
  Packer packer(stream);
  if (envelope.detail.size() <= kErrorDetailBytesMax) {
    write_envelope(packer, envelope);
  } else {
    Envelope shorter = envelope;
    shorter.detail.resize(kErrorDetailBytesMax);
    write_envelope(packer, shorter);
  }
  return finish(std::move(stream));
}

Result<DecodedHead> decode_head(std::span<const std::byte> head) {
  if (head.empty() || head.size() > kHeadBytesMax) {
    return make_error(ErrorCode::kBadMessage,
                      "a head of " + std::to_string(head.size()) + " bytes");
  }
  constexpr std::size_t kEnvelopeZoneBytes = 512;
  msgpack::zone zone(kEnvelopeZoneBytes);
  DFS_TRY(const Unpacked unpacked, unpack_object(zone, head));
  std::uint64_t version = 0;
  if (!read_version(unpacked.object, version)) {
    return make_error(ErrorCode::kBadMessage, "does not begin with an envelope");
  }
  if (version != kProtocolVersion) {
    return make_error(ErrorCode::kVersionMismatch,
                      "the peer speaks protocol version " + std::to_string(version) +
                          ", this side version " + std::to_string(kProtocolVersion));
  }
  DecodedHead decoded;
  if (!read_envelope(unpacked.object, decoded.envelope)) {
    return make_error(ErrorCode::kBadMessage, "a malformed envelope");
  }
  decoded.body = head.subspan(unpacked.size_bytes);
  return decoded;
}

template <class Body>
Result<Body> decode_body(std::span<const std::byte> body) {
  if (body.empty() || body.size() > kHeadBytesMax) {
    return make_error(ErrorCode::kBadMessage,
                      "a body of " + std::to_string(body.size()) + " bytes");
  }
  msgpack::zone zone;
  DFS_TRY(const Unpacked unpacked, unpack_object(zone, body));
  if (unpacked.size_bytes != body.size()) {
    return make_error(ErrorCode::kBadMessage, "bytes behind the body");
  }
  Body decoded;
  if (!read_struct(unpacked.object, decoded)) {
    return make_error(ErrorCode::kBadMessage, "a member of the body has another type or range");
  }
  return decoded;
}

const char* message_type_name(MessageType type) {
  switch (type) {
#define DFS_NAME_CASE(Name) \
  case MessageType::k##Name: return #Name;
    DFS_ALL_REQUESTS(DFS_NAME_CASE)
#undef DFS_NAME_CASE
  }
  return nullptr;  // a number from the wire that this version does not know
}

#define DFS_INSTANTIATE(Body)                                         \
  template Buffer encode_message<Body>(const Envelope&, const Body&); \
  template Result<Body> decode_body<Body>(std::span<const std::byte>);
#define DFS_INSTANTIATE_REQUEST(Name) DFS_INSTANTIATE(Name##Request)
DFS_ALL_REQUESTS(DFS_INSTANTIATE_REQUEST)
DFS_ALL_REPLIES(DFS_INSTANTIATE)
#undef DFS_INSTANTIATE_REQUEST
#undef DFS_INSTANTIATE

}  // namespace dfs
