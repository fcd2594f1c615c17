"""Build the native modules; everything else about the package stands in pyproject.toml.

They are an offer, not a condition: where a compiler is missing or fails, the package installs without them, one line
says so, and `gancli info` repeats it. Variables: GANCLI_NATIVE=0 leaves them out, GANCLI_WERROR=1 makes warnings errors
and a failed build a failed install (for continuous integration).
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from pybind11.setup_helpers import ParallelCompile, Pybind11Extension
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import BaseError, CCompilerError, CompileError

STRICT = os.environ.get("GANCLI_WERROR") == "1"

# No -march: these flags suit any CPU, and the files for wider instruction sets raise their own target inside
# (csrc/cpu/kernels_avx512.cpp), so that one build runs anywhere and no flag has to follow a file.
COMPILE_FLAGS = ["-O3", "-fvisibility=hidden", "-Wall", "-Wextra"]
OPENMP_FLAG = "-fopenmp"
BUILD_ERRORS = (BaseError, CCompilerError, CompileError, OSError)


class BuildNative(build_ext):  # type: ignore[misc]  # setuptools is untyped
    """Build each module if this machine can, with OpenMP if its compiler has it."""

    def build_extension(self, ext: Extension) -> None:
        """Compile and link `ext`, or say in one line why the package goes on without it."""
        ext.extra_compile_args += COMPILE_FLAGS + (["-Werror"] if STRICT else [])
        try:
            if self._has_openmp():
                ext.extra_compile_args.append(OPENMP_FLAG)
                ext.extra_link_args.append(OPENMP_FLAG)
            else:
                print(f"{ext.name}: the compiler has no {OPENMP_FLAG}; building for one thread", file=sys.stderr)
            super().build_extension(ext)
        except BUILD_ERRORS as error:
            if STRICT:
                raise
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            print(f"{ext.name} is left out, gancli runs on torch alone: {reason}", file=sys.stderr)

    def _has_openmp(self) -> bool:
        """Whether a parallel region compiles and links: Apple's clang knows the flag but brings no runtime."""
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "openmp.cpp"
            source.write_text("#include <omp.h>\nint main() { return omp_get_max_threads() < 1; }\n")
            try:
                objects = self.compiler.compile([str(source)], output_dir=folder, extra_postargs=[OPENMP_FLAG])
                self.compiler.link_executable(objects, "openmp", output_dir=folder, extra_postargs=[OPENMP_FLAG])
            except BUILD_ERRORS:
                return False
        return True


def native_modules() -> list[Extension]:
    """List the modules to build; optional, so that setuptools packs the rest if one is missing."""
    if os.environ.get("GANCLI_NATIVE") == "0":
        return []
    cpu = Pybind11Extension(
        "gancli._cpu",
        sources=["csrc/cpu_module.cpp", *sorted(str(path) for path in Path("csrc/cpu").glob("*.cpp"))],
        depends=sorted(str(path) for path in Path("csrc").rglob("*.h")),
        include_dirs=["csrc"],
        cxx_std=17,
        optional=not STRICT,
    )
    # Room for gancli._cuda: csrc/cuda/*.cu through nvcc, where CUDA_HOME, PATH or the pip package has it.
    return [cpu]


ParallelCompile().install()
setup(ext_modules=native_modules(), cmdclass={"build_ext": BuildNative})
