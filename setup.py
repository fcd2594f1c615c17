"""Build the native modules; everything else about the package stands in pyproject.toml.

They are an offer, not a condition: where a compiler is missing or fails, the package installs without them, one line
says so, and `gancli info` repeats it. Variables: GANCLI_NATIVE=0 leaves them out, GANCLI_WERROR=1 makes warnings errors
and a failed build a failed install (for continuous integration).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from pybind11.setup_helpers import ParallelCompile, Pybind11Extension
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import BaseError, CCompilerError, CompileError
from setuptools.modified import newer_group

STRICT = os.environ.get("GANCLI_WERROR") == "1"

# No -march: these flags suit any CPU, and the files for wider instruction sets raise their own target inside
# (csrc/cpu/kernels_avx512.cpp), so that one build runs anywhere and no flag has to follow a file.
COMPILE_FLAGS = ["-O3", "-fvisibility=hidden", "-Wall", "-Wextra"]
OPENMP_FLAG = "-fopenmp"
BUILD_ERRORS = (BaseError, CCompilerError, CompileError, OSError)

# Machine code for A100 and H100, and PTX that the driver of any later GPU compiles.
CUDA_TARGETS = {"sm_80": "compute_80", "sm_90": "compute_90", "compute_90": "compute_90"}
CUDA_FLAGS = ["-std=c++17", "-O3", "--threads", "0", "-Icsrc", "-Xcompiler", "-fPIC,-fvisibility=hidden,-Wall,-Wextra"]
CUDA_STRICT_FLAGS = ["-Werror", "all-warnings", "-Xcompiler", "-Werror"]


def find_nvcc() -> Path | None:
    """Return CUDA's compiler: CUDA_HOME or CUDA_PATH, PATH, /usr/local/cuda, pip package nvidia-cuda-nvcc."""
    named = [Path(os.environ[name]) / "bin/nvcc" for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name)]
    on_path = shutil.which("nvcc")
    packaged = sorted(Path(sysconfig.get_paths()["purelib"]).glob("nvidia/*/bin/nvcc"))
    places = [*named, *([Path(on_path)] if on_path else []), Path("/usr/local/cuda/bin/nvcc"), *packaged]
    return next((place for place in places if place.is_file()), None)


def cuda_runtime(nvcc: Path) -> Path:
    """Return the folder that holds the static CUDA runtime of that compiler."""
    steps = subprocess.run([nvcc, "--dryrun", "-x", "cu", os.devnull], capture_output=True, text=True, check=False)
    homes = [line.partition("TOP=")[2].strip() for line in steps.stderr.splitlines() if "TOP=" in line]
    for home in homes:
        for folder in ("lib64", "lib", "targets/x86_64-linux/lib", "targets/sbsa-linux/lib"):
            if (Path(home) / folder / "libcudart_static.a").is_file():
                return (Path(home) / folder).resolve()
    raise CompileError(f"{nvcc} has no libcudart_static.a beside it (pip package nvidia-cuda-runtime)")


class BuildNative(build_ext):  # type: ignore[misc]  # setuptools is untyped
    """Build each module if this machine can, with OpenMP if its compiler has it."""

    def build_extension(self, ext: Extension) -> None:
        """Compile and link `ext`, or say in one line why the package goes on without it."""
        ext.extra_compile_args += COMPILE_FLAGS + (["-Werror"] if STRICT else [])
        try:
            if ext.name.endswith("_cuda"):
                self._compile_cuda(ext)
            elif self._has_openmp():
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

    def _compile_cuda(self, ext: Extension) -> None:
        """Compile the CUDA sources and hand their objects and the CUDA runtime to the linker."""
        nvcc = find_nvcc()
        if nvcc is None:
            raise CompileError("nvcc not found (CUDA_HOME, PATH, /usr/local/cuda, pip package nvidia-cuda-nvcc)")
        targets = [f"-gencode=arch={ptx},code={target}" for target, ptx in CUDA_TARGETS.items()]
        ext.library_dirs.append(str(cuda_runtime(nvcc)))
        ext.libraries += ["cudart_static", "rt", "pthread", "dl"]
        for source in sorted(Path("csrc/cuda").glob("*.cu")):
            compiled = Path(self.build_temp) / source.with_suffix(".o")
            compiled.parent.mkdir(parents=True, exist_ok=True)
            ext.extra_objects.append(str(compiled))
            if not (self.force or newer_group([str(source), *ext.depends], str(compiled))):
                continue
            command = [str(nvcc), *CUDA_FLAGS, *(CUDA_STRICT_FLAGS if STRICT else []), *targets]
            try:
                self.spawn([*command, "-c", str(source), "-o", str(compiled)])
            except BUILD_ERRORS as error:
                raise CompileError(f"nvcc failed on {source}") from error

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
    if find_nvcc() is None:
        print("gancli._cuda is left out: no nvcc; tensors on a GPU go through torch", file=sys.stderr)
        return [cpu]
    cuda = Pybind11Extension(
        "gancli._cuda",
        sources=["csrc/cuda_module.cpp"],
        depends=sorted(str(path) for ending in ("h", "cu") for path in Path("csrc").rglob(f"*.{ending}")),
        include_dirs=["csrc"],
        define_macros=[("GANCLI_CUDA_ARCHS", ",".join(f'"{target}"' for target in CUDA_TARGETS))],
        cxx_std=17,
        optional=not STRICT,
    )
    return [cpu, cuda]


ParallelCompile().install()
setup(ext_modules=native_modules(), cmdclass={"build_ext": BuildNative})
