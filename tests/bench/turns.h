#ifndef BREAKER_TESTS_BENCH_TURNS_H_
#define BREAKER_TESTS_BENCH_TURNS_H_

#include <functional>
#include <vector>

namespace breaker::bench {

// Of at least one value, in any order. `share` is in [0, 1]; what lies between two is interpolated.
double Quantile(std::vector<double> values, double share);
inline double Median(const std::vector<double>& values) { return Quantile(values, 0.5); }

// How many times as much one side measured as the other, slice by slice.
struct Ratio {
  double median = 0;
  double lowest = 0;
  double highest = 0;
};
Ratio RatioOf(const std::vector<double>& ours, const std::vector<double>& theirs);

// Measures the sides in turns, so that what else the machine does hits all of them: each once a
// slice, another one first each time. A slice before the first warms up. Gives each side's values.
std::vector<std::vector<double>> InTurns(int slices,
                                         const std::vector<std::function<double()>>& sides);

}  // namespace breaker::bench

#endif  // BREAKER_TESTS_BENCH_TURNS_H_
