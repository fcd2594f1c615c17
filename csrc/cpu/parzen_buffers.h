// Where a thread of a Parzen call keeps what it works on.
#pragma once

#include <array>
#include <cstdint>

#include "kernels.h"
#include "workspace.h"

namespace gancli {

// How much of each a call needs; floats where nothing else is said.
struct BufferSizes {
  std::int64_t points, samples;  // packed
  std::int64_t tiles;
  std::int64_t tile_rows;  // samples of a tile
  std::int64_t lanes;      // points in flight
};

// One thread's buffers, cut from its workspace.
struct Buffers {
  float* points;        // packed, centred
  float* samples;       // packed, centred
  float* rows;          // [slabs][width][slabs.stride] centred rows on their way
  float* tiles;         // scores
  float* sample_start;  // [tile_rows] level − ½‖μ‖²
  float* limit;         // [lanes] score of each point with itself, ½‖x‖² + level
  double* origin;       // [lanes] the same before it was rounded
  float* max;           // [lanes] running maximum
  float* nearest;       // [lanes] index in the chunk of the sample that has it
  float* sum;           // [lane panel][σ][lane] running sums and what they hold too much
  float* excess;
  float* sample_row;  // [slabs.total()] a sample to compute a distance from

  Buffers(const Kernels& kernels, const Slabs& slabs, BufferSizes sizes, std::int64_t num_sigmas)
      : num_lanes(sizes.lanes) {
    pieces = {{
        {&points, sizes.points},
        {&samples, sizes.samples},
        {&rows, std::int64_t(slabs.count) * kernels.width * slabs.stride},
        {&tiles, sizes.tiles},
        {&sample_start, sizes.tile_rows},
        {&limit, num_lanes},
        {&max, num_lanes},
        {&nearest, num_lanes},
        {&sum, num_lanes * num_sigmas},
        {&excess, num_lanes * num_sigmas},
        {&sample_row, slabs.total()},
    }};
  }
  Buffers(const Buffers&) = delete;

  // Returns false where memory does not suffice: an exception may not leave a parallel region.
  bool take_from(Workspace& workspace) {
    std::size_t bytes = Workspace::bytes_for<double>(num_lanes);
    for (const Piece& piece : pieces) bytes += Workspace::bytes_for<float>(piece.count);
    if (!workspace.reset(bytes)) return false;
    origin = workspace.take<double>(num_lanes);
    for (const Piece& piece : pieces) *piece.where = workspace.take<float>(piece.count);
    return true;
  }

 private:
  struct Piece {
    float** where;
    std::int64_t count;
  };
  std::array<Piece, 11> pieces;
  std::int64_t num_lanes;
};

}  // namespace gancli
