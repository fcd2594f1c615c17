// The gradients of the maxout convolution from its winners alone, as sums of rows that are long because images and
// weights lie with their channels innermost here: a row of a kernel is then kernel·in neighbouring floats, of the padded
// image at any position as of the weight. From the outside in:
//
//   work items     a part of the batch
//     images         whose cotangent is not all zero: their winners, listed by row of the weight and by position
//       rows of the kernel, cut into chunks that `gather` keeps in registers
//         weight:        rows of the weight, one micro-kernel call each: v_weight += Σ winners · their place in x
//         input:         blocks of weights, in a panel in the first-level cache
//           positions      one micro-kernel call each: the place in v_x += Σ winners · their weights
//
// Which images share the sums of a part depends on the shape alone, and parts add up in their order: the same bits for
// any number of threads.
#include <algorithm>
#include <cstring>

#include "maxout.h"
#include "maxout_conv.h"
#include "parallel.h"
#include "sparse_product.h"

namespace gancli {
namespace {

// Parts of the batch, each with sums of its own for the weight: enough for many threads, and few enough for the caches
// unless that leaves too few; some images in each, since adding up a part costs about as much as adding an image to it.
constexpr std::int64_t MAX_PARTS = 64, MIN_PARTS = 8, SUMS_BYTES = 16 << 20, PART_IMAGES = 4;

// A position that one or more windows chose, through a row of the weight.
struct Winner {
  std::int32_t position, row;
  float value;
};

// What a window's byte says: how far from its first position, and which piece.
struct Candidate {
  std::int32_t offset, piece;
};

// Where a row of the weight lies: its place in the panel of its block, and the block's first list of positions.
struct RowPlace {
  std::int32_t at, list;
};

// Entries in the order of their lists: list i is entries[begin[i] .. begin[i + 1]).
struct Lists {
  std::int64_t count;
  std::int64_t* begin;  // [count + 1]
  Entry* entries;
};

// What one work item keeps in its thread's workspace.
struct Scratch {
  float* plane;        // [positions] one channel's cotangent before pooling, zeros between channels
  std::int32_t* seen;  // [positions] the last channel, of all images one by one, that found a winner there
  Winner* winners;     // of one image
  Lists by_row;        // for the weight: where the winner's patch of x begins
  Lists by_position;   // for the input, in each block of weights: where the winner's weights begin
  float* image;        // [padded height][padded width][in]
  float* v_image;      // the same, its gradient
};

class Backward {
 public:
  Backward(const Kernels& kernels, const ConvShape& shape, const float* weight, bool input, bool parameters,
           int threads);

  std::int64_t parts() const { return parts_; }
  void run(Workspace& workspace, std::int64_t p, const float* v_y, const std::uint8_t* index, const float* x,
           float* v_x) const;
  void add_up(Workspace& workspace, std::int64_t row, float* v_weight, float* v_bias) const;

 private:
  const Kernels& kernels_;
  const ConvShape shape_;
  const bool input_, parameters_;                   // which gradients are wanted
  const std::int64_t run_;                          // floats of a row of a kernel: kernel·in
  const std::int64_t stride_;                       // of panel rows
  const std::int64_t chunks_;                       // a row of a kernel is cut into
  const std::int64_t channels_per_block_, blocks_;  // of weights
  const std::int64_t image_floats_;  // of a padded image, and a vector that may be read behind it
  const std::int64_t most_winners_;  // in one image
  std::int64_t parts_;
  std::int32_t* place_;    // [positions] where a patch begins in the padded image
  Candidate* candidates_;  // [MOST_CANDIDATES]
  RowPlace* row_places_;   // [rows]
  float* panels_;          // [kernel][chunks][rows][stride] the weights
  float* sums_;            // [parts][rows][kernel][run]
  float* bias_sums_;       // [parts][rows]
  bool* used_;             // [parts] whether it has any sums

  std::int64_t first_column(std::int64_t chunk) const {
    return part(ceil_div(run_, kernels_.width), chunks_, chunk) * kernels_.width;
  }
  int columns(std::int64_t chunk) const {
    return int(std::min(first_column(chunk + 1), run_) - first_column(chunk));
  }
  void pack(Workspace& workspace, const float* weight, std::int64_t row) const;
  Scratch take(Workspace& workspace) const;
  std::int64_t find_winners(std::int64_t b, const float* v_y, const std::uint8_t* index,
                            const Scratch& s) const;
  void list(const Scratch& s, std::int64_t count) const;
  void copy_image(const float* x, float* image) const;
  void copy_back(const float* v_image, float* v_x) const;
  void add_weight(const Scratch& s, std::int64_t p) const;
  void add_input(const Scratch& s) const;
};

Backward::Backward(const Kernels& kernels, const ConvShape& shape, const float* weight, bool input,
                   bool parameters, int threads)
    : kernels_(kernels),
      shape_(shape),
      input_(input),
      parameters_(parameters),
      run_(shape.kernel * shape.in),
      stride_(std::int64_t(kernels.layers->gather_vectors) * kernels.width),
      chunks_(ceil_div(run_, stride_)),
      channels_per_block_(std::max<std::int64_t>(PANEL_ROWS / shape.pieces, 1)),
      blocks_(ceil_div(shape.channels, channels_per_block_)),
      image_floats_(shape.padded_height() * shape.padded_width() * shape.in + kernels.width),
      most_winners_(shape.channels * std::min(shape.positions(), shape.windows())),
      parts_(shape.batch) {
  const std::int64_t weights = shape.rows() * shape.weights();
  if (parameters) {
    const std::int64_t fitting = SUMS_BYTES / (weights * std::int64_t(sizeof(float)));
    parts_ = std::min(ceil_div(shape.batch, PART_IMAGES), std::clamp(fitting, MIN_PARTS, MAX_PARTS));
  }
  const std::int64_t panel_floats = input ? shape.kernel * chunks_ * shape.rows() * stride_ : 0;
  const std::int64_t sum_floats = parameters ? parts_ * weights : 0;
  Workspace& shared = shared_workspace();
  reserve(shared, Workspace::bytes_for<std::int32_t>(shape.positions()) +
                      Workspace::bytes_for<Candidate>(MOST_CANDIDATES) +
                      Workspace::bytes_for<RowPlace>(shape.rows()) +
                      Workspace::bytes_for<float>(panel_floats) + Workspace::bytes_for<float>(sum_floats) +
                      Workspace::bytes_for<float>(parts_ * shape.rows()) +
                      Workspace::bytes_for<bool>(parts_));
  place_ = shared.take<std::int32_t>(shape.positions());
  candidates_ = shared.take<Candidate>(MOST_CANDIDATES);
  row_places_ = shared.take<RowPlace>(shape.rows());
  panels_ = shared.take<float>(panel_floats);
  sums_ = shared.take<float>(sum_floats);
  bias_sums_ = shared.take<float>(parts_ * shape.rows());
  used_ = shared.take<bool>(parts_);
  const std::int64_t width = shape.conv_width();
  for (std::int64_t i = 0; i < shape.positions(); ++i)
    place_[i] = std::int32_t((i / width * shape.padded_width() + i % width) * shape.in);
  for (std::int64_t i = 0; i < MOST_CANDIDATES; ++i) {
    const std::int64_t position = i / shape.pieces;
    candidates_[i] = {std::int32_t(position / shape.pool * width + position % shape.pool),
                      std::int32_t(i % shape.pieces)};
  }
  const std::int64_t rows_per_block = channels_per_block_ * shape.pieces;
  for (std::int64_t i = 0; i < shape.rows(); ++i)
    row_places_[i] = {std::int32_t(i % rows_per_block * stride_),
                      std::int32_t(i / rows_per_block * shape.positions())};
  if (input) {
    parallel_for(threads, shape.rows(),
                 [&](Workspace& workspace, std::int64_t row) { pack(workspace, weight, row); });
  }
}

// Copy a row of the weight, [in][kernel][kernel], into its places in the panels.
void Backward::pack(Workspace& workspace, const float* weight, std::int64_t row) const {
  const std::int64_t places = shape_.kernel * shape_.kernel;
  reserve(workspace, Workspace::bytes_for<float>(shape_.weights()));
  float* const turned = workspace.take<float>(shape_.weights());  // [kernel][kernel][in]
  kernels_.layers->transpose_block(int(shape_.in), int(places), weight + row * shape_.weights(), places,
                                   turned, shape_.in, false);
  for (std::int64_t r = 0; r < shape_.kernel; ++r) {
    for (std::int64_t chunk = 0; chunk < chunks_; ++chunk) {
      kernels_.layers->copy_block(1, columns(chunk), turned + r * run_ + first_column(chunk), 0,
                                  panels_ + ((r * chunks_ + chunk) * shape_.rows() + row) * stride_, 0);
    }
  }
}

Scratch Backward::take(Workspace& workspace) const {
  const std::int64_t positions = shape_.positions(), listed = blocks_ * positions;
  reserve(workspace, Workspace::bytes_for<float>(positions) + Workspace::bytes_for<std::int32_t>(positions) +
                         Workspace::bytes_for<Winner>(most_winners_ + 1) +
                         Workspace::bytes_for<std::int64_t>(shape_.rows() + 1) +
                         Workspace::bytes_for<std::int64_t>(listed + 1) +
                         2 * Workspace::bytes_for<Entry>(most_winners_) +
                         2 * Workspace::bytes_for<float>(image_floats_));
  Scratch s;
  s.plane = workspace.take<float>(positions);
  s.seen = workspace.take<std::int32_t>(positions);
  s.winners = workspace.take<Winner>(most_winners_ + 1);
  s.by_row = {shape_.rows(), workspace.take<std::int64_t>(shape_.rows() + 1),
              workspace.take<Entry>(most_winners_)};
  s.by_position = {listed, workspace.take<std::int64_t>(listed + 1), workspace.take<Entry>(most_winners_)};
  s.image = workspace.take<float>(image_floats_);
  s.v_image = workspace.take<float>(image_floats_);
  std::fill_n(s.plane, positions, 0.0f);
  std::fill_n(s.seen, positions, -1);
  std::fill_n(s.image, image_floats_, 0.0f);  // the border stays so
  return s;
}

// Add up the cotangent of image b's windows at the positions that won them. Returns how many winners there are.
std::int64_t Backward::find_winners(std::int64_t b, const float* v_y, const std::uint8_t* index,
                                    const Scratch& s) const {
  const std::int64_t width = shape_.conv_width();
  std::int64_t count = 0;
  for (std::int64_t u = 0; u < shape_.channels; ++u) {
    const std::int32_t channel = std::int32_t(b * shape_.channels + u);
    // Without branches that nobody could predict: every winner is written, only what is new moves the next.
    std::int64_t found = count;
    for (std::int64_t r = 0; r < shape_.pooled_height; ++r) {
      std::int64_t first = r * shape_.stride * width;
      for (std::int64_t c = 0; c < shape_.pooled_width; ++c, ++v_y, ++index, first += shape_.stride) {
        const Candidate candidate = candidates_[*index];
        const std::int64_t at = first + candidate.offset;
        s.winners[found] = {std::int32_t(at), std::int32_t(u * shape_.pieces) + candidate.piece, 0};
        found += s.seen[at] != channel;
        s.seen[at] = channel;
        s.plane[at] += *v_y;
      }
    }
    for (std::int64_t i = count; i < found; ++i) {
      Winner winner = s.winners[i];
      winner.value = s.plane[winner.position];
      s.plane[winner.position] = 0;
      s.winners[count] = winner;
      count += winner.value != 0;
    }
  }
  return count;
}

// Put winners into lists by `list(winner)`, in their order, as `entry(winner)`.
template <typename List, typename MakeEntry>
void fill_lists(const Lists& out, const Winner* winners, std::int64_t count, const List& list,
                const MakeEntry& entry) {
  std::fill_n(out.begin, out.count + 1, 0);
  for (std::int64_t i = 0; i < count; ++i) ++out.begin[list(winners[i])];
  std::int64_t end = 0;
  for (std::int64_t i = 0; i <= out.count; ++i) out.begin[i] = end += out.begin[i];
  for (std::int64_t i = count; i-- > 0;) out.entries[--out.begin[list(winners[i])]] = entry(winners[i]);
}

void Backward::list(const Scratch& s, std::int64_t count) const {
  if (parameters_) {
    fill_lists(
        s.by_row, s.winners, count, [](const Winner& w) { return w.row; },
        [&](const Winner& w) {
          return Entry{place_[w.position], w.value};
        });
  }
  if (input_) {
    fill_lists(
        s.by_position, s.winners, count,
        [&](const Winner& w) { return row_places_[w.row].list + w.position; },
        [&](const Winner& w) {
          return Entry{row_places_[w.row].at, w.value};
        });
  }
}

// From [in][height][width] to the middle of [padded height][padded width][in], and back.
void Backward::copy_image(const float* x, float* image) const {
  for (std::int64_t r = 0; r < shape_.height; ++r) {
    const std::int64_t at = ((r + shape_.pad) * shape_.padded_width() + shape_.pad) * shape_.in;
    kernels_.layers->transpose_block(int(shape_.in), int(shape_.width), x + r * shape_.width,
                                     shape_.height * shape_.width, image + at, shape_.in, false);
  }
}
void Backward::copy_back(const float* v_image, float* v_x) const {
  for (std::int64_t r = 0; r < shape_.height; ++r) {
    const std::int64_t at = ((r + shape_.pad) * shape_.padded_width() + shape_.pad) * shape_.in;
    kernels_.layers->transpose_block(int(shape_.width), int(shape_.in), v_image + at, shape_.in,
                                     v_x + r * shape_.width, shape_.height * shape_.width, false);
  }
}

void Backward::add_weight(const Scratch& s, std::int64_t p) const {
  const bool fresh = !used_[p];
  float* const sums = sums_ + p * shape_.rows() * shape_.weights();
  float* const bias_sums = bias_sums_ + p * shape_.rows();
  for (std::int64_t row = 0; row < shape_.rows(); ++row) {
    float total = 0;
    for (std::int64_t i = s.by_row.begin[row]; i < s.by_row.begin[row + 1]; ++i)
      total += s.by_row.entries[i].value;
    bias_sums[row] = fresh ? total : bias_sums[row] + total;
  }
  for (std::int64_t r = 0; r < shape_.kernel; ++r) {
    for (std::int64_t chunk = 0; chunk < chunks_; ++chunk) {
      const std::int64_t first = first_column(chunk);
      const float* const image = s.image + r * shape_.padded_width() * shape_.in + first;
      for (std::int64_t row = 0; row < shape_.rows(); ++row) {
        const std::int64_t at = s.by_row.begin[row], count = s.by_row.begin[row + 1] - at;
        if (count == 0 && !fresh) continue;
        kernels_.layers->gather(count, s.by_row.entries + at, image, columns(chunk),
                                sums + (row * shape_.kernel + r) * run_ + first, fresh);
      }
    }
  }
}

void Backward::add_input(const Scratch& s) const {
  std::fill_n(s.v_image, image_floats_, 0.0f);
  const std::int64_t positions = shape_.positions();
  for (std::int64_t r = 0; r < shape_.kernel; ++r) {
    for (std::int64_t chunk = 0; chunk < chunks_; ++chunk) {
      float* const v_image = s.v_image + r * shape_.padded_width() * shape_.in + first_column(chunk);
      for (std::int64_t block = 0; block < blocks_; ++block) {
        const std::int64_t row = block * channels_per_block_ * shape_.pieces;
        const float* const panel = panels_ + ((r * chunks_ + chunk) * shape_.rows() + row) * stride_;
        const std::int64_t* const begin = s.by_position.begin + block * positions;
        for (std::int64_t i = 0; i < positions; ++i) {
          if (begin[i] == begin[i + 1]) continue;
          kernels_.layers->gather(begin[i + 1] - begin[i], s.by_position.entries + begin[i], panel,
                                  columns(chunk), v_image + place_[i], false);
        }
      }
    }
  }
}

// All images of part p; pointers to whole arrays, v_x null where it is not wanted.
void Backward::run(Workspace& workspace, std::int64_t p, const float* v_y, const std::uint8_t* index,
                   const float* x, float* v_x) const {
  const Scratch s = take(workspace);
  const std::int64_t outputs = shape_.channels * shape_.windows();
  const std::int64_t inputs = shape_.in * shape_.height * shape_.width;
  used_[p] = false;
  for (std::int64_t b = part(shape_.batch, parts_, p); b < part(shape_.batch, parts_, p + 1); ++b) {
    if (count_nonzeros(v_y + b * outputs, outputs) == 0) {
      if (input_) std::fill_n(v_x + b * inputs, inputs, 0.0f);
      continue;
    }
    list(s, find_winners(b, v_y + b * outputs, index + b * outputs, s));
    if (parameters_) {
      copy_image(x + b * inputs, s.image);
      add_weight(s, p);
      used_[p] = true;
    }
    if (input_) {
      add_input(s);
      copy_back(s.v_image, v_x + b * inputs);
    }
  }
}

// Add up the parts of a row of the weight, and put it in the order [in][kernel][kernel].
void Backward::add_up(Workspace& workspace, std::int64_t row, float* v_weight, float* v_bias) const {
  reserve(workspace, Workspace::bytes_for<float>(shape_.weights()));
  float* const total = workspace.take<float>(shape_.weights());  // [kernel][kernel][in]
  std::fill_n(total, shape_.weights(), 0.0f);
  float bias = 0;
  for (std::int64_t p = 0; p < parts_; ++p) {
    if (!used_[p]) continue;
    const float* const sums = sums_ + (p * shape_.rows() + row) * shape_.weights();
    for (std::int64_t i = 0; i < shape_.weights(); ++i) total[i] += sums[i];
    bias += bias_sums_[p * shape_.rows() + row];
  }
  if (v_bias != nullptr) v_bias[row] = bias;
  if (v_weight == nullptr) return;
  const std::int64_t places = shape_.kernel * shape_.kernel;
  kernels_.layers->transpose_block(int(places), int(shape_.in), total, shape_.in,
                                   v_weight + row * shape_.weights(), places, false);
}

}  // namespace

void maxout_conv_backward(const Kernels& kernels, ConvShape shape, const float* v_y,
                          const std::uint8_t* index, const float* x, const float* weight, float* v_x,
                          float* v_weight, float* v_bias, int threads) {
  const bool parameters = v_weight != nullptr || v_bias != nullptr;
  if (v_x == nullptr && !parameters) return;
  const Backward backward(kernels, shape, weight, v_x != nullptr, parameters, threads);
  parallel_for(threads, backward.parts(),
               [&](Workspace& workspace, std::int64_t p) { backward.run(workspace, p, v_y, index, x, v_x); });
  if (!parameters) return;
  parallel_for(threads, shape.rows(), [&](Workspace& workspace, std::int64_t row) {
    backward.add_up(workspace, row, v_weight, v_bias);
  });
}

}  // namespace gancli
