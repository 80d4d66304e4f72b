#include "tests/bench/turns.h"

#include <algorithm>
#include <cstddef>
#include <utility>

namespace breaker::bench {

double Quantile(std::vector<double> values, double share) {
  std::sort(values.begin(), values.end());
  const double rank = share * static_cast<double>(values.size() - 1);
  const auto below = static_cast<size_t>(rank);
  const size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (rank - static_cast<double>(below)) * (values[above] - values[below]);
}

Ratio RatioOf(const std::vector<double>& ours, const std::vector<double>& theirs) {
  std::vector<double> ratios;
  for (size_t i = 0; i < ours.size(); ++i) ratios.push_back(ours[i] / theirs[i]);
  const auto [lowest, highest] = std::minmax_element(ratios.begin(), ratios.end());
  return {Median(ratios), *lowest, *highest};
}

std::vector<std::vector<double>> InTurns(int slices,
                                         const std::vector<std::function<double()>>& sides) {
  std::vector<std::vector<double>> values(sides.size());
  for (int slice = -1; slice < slices; ++slice) {
    for (size_t i = 0; i < sides.size(); ++i) {
      const size_t side = (i + static_cast<size_t>(slice + 1)) % sides.size();
      const double value = sides[side]();
      if (slice >= 0) values[side].push_back(value);
    }
  }
  return values;
}

}  // namespace breaker::bench
