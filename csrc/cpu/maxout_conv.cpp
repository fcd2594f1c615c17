// The loops of the maxout convolution, forward. Outputs are lanes, one vector for each piece of `width` channels, and
// positions are rows, so that the maximum over pieces and the one over windows both run over whole vectors. No matrix of
// patches is built: the micro-kernel reads the padded image where it lies. From the outside in:
//
//   work items     an image × a block of `width` channels
//     bands          of the tiles, which are neighbours in a row of positions; their sums stay in the first-level cache
//       lane panels    of the block's weights, packed once for all images: as many pieces as a tile has vectors
//         slabs          of the panel: some rows of the kernels
//           tiles          one micro-kernel call each
//         tiles          after the last slab: become the best piece of each position
//     windows        become their best position
//   block          transposed into y and index
#include "maxout_conv.h"

#include <algorithm>
#include <cstring>

#include "layer_kernels.h"
#include "parallel.h"

namespace gancli {
namespace {

// Tiles in work at a time: their sums, 12·14·32 floats = 21 KiB, stay in the first-level cache.
constexpr std::int64_t MAX_TILES = 12;

class Forward {
 public:
  Forward(const Kernels& kernels, const ConvShape& shape, const float* bias)
      : kernels_(kernels),
        shape_(shape),
        bias_(bias),
        kernel_rows_(shape.in * shape.kernel),
        slabs_(ceil_div(kernel_rows_, std::max<std::int64_t>(SLAB / shape.kernel, 1))),
        vectors_(kernels.lanes / kernels.width),
        panels_(ceil_div(shape.pieces, vectors_)),
        panel_(shape.weights() * kernels.lanes),
        tiles_per_row_(ceil_div(shape.conv_width(), kernels.rows)) {
    Workspace& shared = shared_workspace();
    reserve(shared, Workspace::bytes_for<std::int64_t>(kernel_rows_) +
                        Workspace::bytes_for<float>(blocks() * panels_ * panel_));
    offsets_ = shared.take<std::int64_t>(kernel_rows_);
    weights_ = shared.take<float>(blocks() * panels_ * panel_);
    for (std::int64_t i = 0; i < kernel_rows_; ++i)
      offsets_[i] = (i / shape.kernel * shape.padded_height() + i % shape.kernel) * shape.padded_width();
  }

  std::int64_t blocks() const { return ceil_div(shape_.channels, kernels_.width); }

  // Transpose piece j of a block of channels into its vector.
  void pack(const float* weight, std::int64_t block, std::int64_t j) const {
    const std::int64_t first = block * kernels_.width;
    float* const panel = weights_ + (block * panels_ + j / vectors_) * panel_;
    kernels_.layers->transpose_block(
        channels_of(block), int(shape_.weights()), weight + (first * shape_.pieces + j) * shape_.weights(),
        shape_.pieces * shape_.weights(), panel + j % vectors_ * kernels_.width, kernels_.lanes, true);
  }

  // All of a block of channels of one image: x [in][height][width]; y, index [the block's channels][windows].
  void run(Workspace& workspace, std::int64_t block, const float* x, float* y, std::uint8_t* index) const;

 private:
  int channels_of(std::int64_t block) const {
    return int(std::min<std::int64_t>(kernels_.width, shape_.channels - block * kernels_.width));
  }
  void pad(const float* x, float* padded) const;
  void find_pieces(std::int64_t block, const float* padded, float* tiles, const float* biases, float* best,
                   float* piece) const;
  void pool(const float* best, const float* piece, float* y, float* winner) const;

  const Kernels& kernels_;
  const ConvShape& shape_;
  const float* bias_;
  const std::int64_t kernel_rows_;  // of all input channels
  const std::int64_t slabs_;    // a panel is cut into, at most SLAB deep unless a row of the kernel is deeper
  const std::int64_t vectors_;  // of a tile
  const std::int64_t panels_;   // of a block of channels
  const std::int64_t panel_;    // floats of a panel
  const std::int64_t tiles_per_row_;  // of positions
  std::int64_t* offsets_;             // [kernel_rows] from a position to the row of the padded image
  float* weights_;                    // [blocks][panels][weights][lanes]
};

// Copy an image into the middle of zeros.
void Forward::pad(const float* x, float* padded) const {
  const std::int64_t width = shape_.padded_width(), plane = shape_.padded_height() * width;
  std::memset(padded, 0, sizeof(float) * shape_.in * plane);
  for (std::int64_t c = 0; c < shape_.in; ++c) {
    for (std::int64_t r = 0; r < shape_.height; ++r)
      std::memcpy(padded + c * plane + (r + shape_.pad) * width + shape_.pad,
                  x + (c * shape_.height + r) * shape_.width, sizeof(float) * shape_.width);
  }
}

// best, piece [positions][width]
void Forward::find_pieces(std::int64_t block, const float* padded, float* tiles, const float* biases,
                          float* best, float* piece) const {
  const std::int64_t columns = shape_.conv_width(), tile = std::int64_t(kernels_.rows) * kernels_.lanes;
  const std::int64_t all = shape_.conv_height() * tiles_per_row_;
  for (std::int64_t t0 = 0; t0 < all; t0 += MAX_TILES) {
    const std::int64_t t1 = std::min(t0 + MAX_TILES, all);
    // fn(tile, row of positions, first column, positions)
    const auto each_tile = [&](const auto& fn) {
      for (std::int64_t t = t0; t < t1; ++t) {
        const std::int64_t i = t % tiles_per_row_, c = part(columns, tiles_per_row_, i);
        fn(tiles + (t - t0) * tile, t / tiles_per_row_, c, int(part(columns, tiles_per_row_, i + 1) - c));
      }
    };
    for (std::int64_t p = 0; p < panels_; ++p) {
      const float* const weights = weights_ + (block * panels_ + p) * panel_;
      const int pieces = int(std::min(vectors_, shape_.pieces - p * vectors_));
      for (std::int64_t s = 0; s < slabs_; ++s) {
        const std::int64_t first = part(kernel_rows_, slabs_, s), end = part(kernel_rows_, slabs_, s + 1);
        each_tile([&](float* sums, std::int64_t row, std::int64_t column, int count) {
          kernels_.layers->convolve(count, pieces * kernels_.width, int(end - first), int(shape_.kernel),
                                    offsets_ + first, padded + row * shape_.padded_width() + column,
                                    weights + first * shape_.kernel * kernels_.lanes, sums, s == 0);
        });
      }
      each_tile([&](const float* sums, std::int64_t row, std::int64_t column, int count) {
        const std::int64_t at = (row * columns + column) * kernels_.width;
        kernels_.layers->best_vector(count, pieces, sums, biases + p * kernels_.lanes, int(p * vectors_),
                                     best + at, piece + at);
      });
    }
  }
}

// y, winner [windows][width]
void Forward::pool(const float* best, const float* piece, float* y, float* winner) const {
  const std::int64_t stride = shape_.conv_width() * kernels_.width;
  for (std::int64_t r = 0; r < shape_.pooled_height; ++r) {
    const std::int64_t row = r * shape_.stride;
    const int rows = int(std::min(shape_.pool, shape_.conv_height() - row));
    for (std::int64_t c = 0; c < shape_.pooled_width; ++c, y += kernels_.width, winner += kernels_.width) {
      const std::int64_t column = c * shape_.stride, at = row * stride + column * kernels_.width;
      kernels_.layers->best_position(rows, int(std::min(shape_.pool, shape_.conv_width() - column)), stride,
                                     int(shape_.pool), int(shape_.pieces), best + at, piece + at, y, winner);
    }
  }
}

void Forward::run(Workspace& workspace, std::int64_t block, const float* x, float* y,
                  std::uint8_t* index) const {
  const std::int64_t padded_floats = shape_.in * shape_.padded_height() * shape_.padded_width();
  const std::int64_t tile_floats = MAX_TILES * kernels_.rows * kernels_.lanes;
  const std::int64_t best_floats = shape_.positions() * kernels_.width;
  const std::int64_t pooled_floats = shape_.windows() * kernels_.width;
  const std::int64_t bias_floats = panels_ * kernels_.lanes;
  reserve(workspace, Workspace::bytes_for<float>(padded_floats) + Workspace::bytes_for<float>(tile_floats) +
                         Workspace::bytes_for<float>(bias_floats) +
                         2 * Workspace::bytes_for<float>(best_floats) +
                         3 * Workspace::bytes_for<float>(pooled_floats));
  float* const padded = workspace.take<float>(padded_floats);
  float* const tiles = workspace.take<float>(tile_floats);   // [MAX_TILES][rows][lanes]
  float* const biases = workspace.take<float>(bias_floats);  // [panels][lanes]
  float* const best = workspace.take<float>(best_floats);
  float* const piece = workspace.take<float>(best_floats);
  float* const pooled = workspace.take<float>(pooled_floats);
  float* const winner = workspace.take<float>(pooled_floats);
  float* const turned = workspace.take<float>(pooled_floats);  // [channels of the block][windows]

  const int channels = channels_of(block), windows = int(shape_.windows());
  std::fill_n(biases, bias_floats, 0.0f);
  for (int u = 0; u < channels; ++u) {
    for (std::int64_t j = 0; j < shape_.pieces; ++j)
      biases[j * kernels_.width + u] = bias_[(block * kernels_.width + u) * shape_.pieces + j];
  }
  pad(x, padded);
  find_pieces(block, padded, tiles, biases, best, piece);
  pool(best, piece, pooled, winner);
  kernels_.layers->transpose_block(windows, channels, pooled, kernels_.width, y, windows, false);
  kernels_.layers->transpose_block(windows, channels, winner, kernels_.width, turned, windows, false);
  for (int i = 0; i < channels * windows; ++i) index[i] = std::uint8_t(int(turned[i]));
}

}  // namespace

void maxout_conv_forward(const Kernels& kernels, ConvShape shape, const float* x, const float* weight,
                         const float* bias, float* y, std::uint8_t* index, int threads) {
  const Forward forward(kernels, shape, bias);
  const std::int64_t blocks = forward.blocks();
  parallel_for(threads, blocks * shape.pieces, [&](Workspace&, std::int64_t item) {
    forward.pack(weight, item / shape.pieces, item % shape.pieces);
  });
  parallel_for(threads, shape.batch * blocks, [&](Workspace& workspace, std::int64_t item) {
    const std::int64_t b = item % shape.batch, block = item / shape.batch;
    const std::int64_t at = (b * shape.channels + block * kernels.width) * shape.windows();
    forward.run(workspace, block, x + b * shape.in * shape.height * shape.width, y + at, index + at);
  });
}

}  // namespace gancli
