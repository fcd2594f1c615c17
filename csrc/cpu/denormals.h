// Numbers too small for a normalised mantissa, which cost an x86 CPU a hundred cycles each.
#pragma once

namespace gancli {

// Let every thread of the team take denormal operands for zero and write zero for denormal results, or no longer; threads
// that this one starts later do as it does. Returns false where the CPU has no such mode that is known here.
bool set_flush_denormals(bool on, int threads);

}  // namespace gancli
