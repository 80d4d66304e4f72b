#include "server/engine/arena.h"

#include <sys/mman.h>

#include <cstdint>
#include <new>

namespace breaker::server {
namespace {

constexpr int kCollapse = 25;  // MADV_COLLAPSE, which the C library's headers do not know yet

size_t RoundUp(size_t n) {
  return (n + Arena::kHugePage - 1) / Arena::kHugePage * Arena::kHugePage;
}

}  // namespace

Arena::Arena(size_t bytes) : bytes_(RoundUp(bytes)) {
  const size_t with_room_to_align = bytes_ + kHugePage;
  void* const space = mmap(nullptr, with_room_to_align, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (space == MAP_FAILED) throw std::bad_alloc();
  const uintptr_t begin = reinterpret_cast<uintptr_t>(space);
  const uintptr_t aligned = RoundUp(begin);
  if (aligned > begin) munmap(space, aligned - begin);
  start_ = reinterpret_cast<char*>(aligned);
  munmap(start_ + bytes_, begin + kHugePage - aligned);
  // Things that lie far apart must not take a huge page each unasked.
  madvise(start_, bytes_, MADV_NOHUGEPAGE);
}

Arena::~Arena() { munmap(start_, bytes_); }

void Arena::UseHugePages(char* at, size_t bytes) {
  const uintptr_t begin = reinterpret_cast<uintptr_t>(at) / kHugePage * kHugePage;
  const uintptr_t end = RoundUp(reinterpret_cast<uintptr_t>(at) + bytes);
  madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
  madvise(reinterpret_cast<void*>(begin), end - begin, kCollapse);
}

}  // namespace breaker::server
