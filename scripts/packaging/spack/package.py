# Where it lies decides the name of a package in Spack: packages/mpiswarm/package.py of a repository
# (spack repo create; packaging/check.sh shows how).

from spack.package import *

try:  # Spack 1 keeps the build systems beside the recipes.
    from spack_repo.builtin.build_systems.cargo import CargoPackage
except ImportError:
    pass


class Mpiswarm(CargoPackage):
    """Puts files and folders on every node of an MPI job, verified, as a swarm, and measures what that buys."""

    license("MIT OR Apache-2.0")

    # Nothing is published yet: `spack develop --path <the clone> mpiswarm@main` says where the source is.
    version("main")

    variant("mpi", default=True, description="Ranks of an MPI job; without it threads of one process")

    depends_on("c", type="build")
    depends_on("rust@1.95:", type="build")
    # The crate `mpi` reads mpi.h by bindgen, which loads libclang.
    depends_on("llvm+clang", type="build", when="+mpi")
    depends_on("mpi", when="+mpi")

    @property
    def build_args(self):
        return ["--locked"] + ([] if self.spec.satisfies("+mpi") else ["--no-default-features"])

    def setup_build_environment(self, env):
        if self.spec.satisfies("+mpi"):
            env.set("MPICC", self.spec["mpi"].mpicc)
            env.set("LIBCLANG_PATH", self.spec["llvm"].prefix.lib)

    @run_after("install")
    def runs(self):
        Executable(self.prefix.bin.mpiswarm)("--version")
