#ifndef BREAKER_ENGINE_KEY_H_
#define BREAKER_ENGINE_KEY_H_

#include <compare>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/hash/hash.h"
#include "absl/strings/string_view.h"

namespace breaker::server {

// A breaker's name, borrowed.
struct KeyView {
  absl::string_view service;
  absl::string_view operation;

  friend bool operator==(const KeyView&, const KeyView&) = default;
  friend bool operator<(const KeyView& a, const KeyView& b) {
    const int by_service = a.service.compare(b.service);
    return by_service != 0 ? by_service < 0 : a.operation < b.operation;
  }
  template <typename H>
  friend H AbslHashValue(H h, const KeyView& key) {
    return H::combine(std::move(h), key.service, key.operation);
  }
};

// A breaker's name. Ordered by service, then operation.
struct Key {
  std::string service;
  std::string operation;

  Key() = default;
  Key(std::string service_name, std::string operation_name)
      : service(std::move(service_name)), operation(std::move(operation_name)) {}
  explicit Key(const KeyView& view) : service(view.service), operation(view.operation) {}

  operator KeyView() const { return KeyView{service, operation}; }  // NOLINT: a Key is one

  friend bool operator==(const Key&, const Key&) = default;
  friend bool operator<(const Key& a, const Key& b) { return KeyView(a) < KeyView(b); }
  template <typename H>
  friend H AbslHashValue(H h, const Key& key) {
    return AbslHashValue(std::move(h), KeyView(key));
  }
};

// A breaker's name with its hash, which is computed once a call: it tells the shard, and the place
// in it.
struct HashedKey {
  explicit HashedKey(const KeyView& key) : view(key), hash(absl::HashOf(key)) {}

  KeyView view;
  uint64_t hash;
};

}  // namespace breaker::server

#endif  // BREAKER_ENGINE_KEY_H_
