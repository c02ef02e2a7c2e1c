"""Makes ``purdist/graphs/running/signatures.txt``: Paddle's registry, which Python does not show.

``python -m tests.registry`` compiles a few lines against Paddle's headers, for which it takes g++.
"""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from importlib import resources
from pathlib import Path

import paddle

from purdist.graphs.running.computing import COMPUTING

_CODE = r"""
#include <fstream>
#include "paddle/fluid/pir/dialect/operator/interface/op_yaml_info.h"
#include "paddle/pir/include/core/ir_context.h"
#include "paddle/pir/include/core/op_info.h"

using Interface = paddle::dialect::OpYamlInfoInterface;

extern "C" void write_registry(const char* path) {
  std::ofstream file(path);
  for (auto& [name, info] : pir::IrContext::Instance()->registered_op_info_map()) {
    auto* found = info.GetInterfaceImpl<Interface>();
    if (!found) continue;
    const auto told = found->get_op_info_(name);
    file << "op " << name << "\n";
    for (auto& i : std::get<0>(told))
      file << "in " << i.name << " " << i.type_name << " " << i.optional << "\n";
    for (auto& o : std::get<2>(told)) file << "out " << o.name << " " << o.type_name << " 0\n";
    for (auto& a : std::get<1>(told)) file << "says " << a.name << " " << a.type_name << "\n";
  }
}
"""

_KINDS = {
    "BoolAttribute": "bool",
    "DataTypeAttribute": "dtype",
    "DoubleAttribute": "f64",
    "FloatAttribute": "f32",
    "Int32Attribute": "i32",
    "Int64Attribute": "i64",
    "IntArrayAttribute": "intarray",
    "PlaceAttribute": "place",
    "ScalarAttribute": "scalar",
    "StrAttribute": "str",
}


def _registry(folder: Path) -> str:
    home = Path(paddle.__file__).parent
    library = folder / "registry.so"
    (folder / "registry.cc").write_text(_CODE)
    headers = [f"-I{home / part}" for part in ("include", "include/third_party")]
    flags = ["-std=c++17", "-fPIC", "-shared", "-w", *headers, "-o", str(library)]
    subprocess.run(["g++", *flags, str(folder / "registry.cc")], check=True)
    ctypes.CDLL(str(home / "base" / "libpaddle.so"), ctypes.RTLD_GLOBAL)
    ctypes.CDLL(str(library)).write_registry(str(folder / "registry.txt").encode())
    return (folder / "registry.txt").read_text()


def _value(name: str, kind: str, optional: str) -> str:
    tensors = "*" if kind.startswith("pir::VectorType") else ""
    number = "~" if kind.endswith("Attribute") else ""
    return f"{name}{tensors}{number}{'?' * int(optional)}"


def _attribute(name: str, kind: str) -> str:
    bare = kind.removeprefix("pir::ArrayAttribute<").removesuffix(">")
    return f"{name}: {_KINDS[bare.rpartition('::')[2]]}{'[]' * (bare != kind)}"


def _line(entries: list[str]) -> str:
    """What an op reads, gives and is told."""
    fields = [entry.split() for entry in entries]
    reads, gives = (
        ", ".join(_value(*rest) for what, *rest in fields if what == side) for side in ("in", "out")
    )
    told = ", ".join(_attribute(*rest) for what, *rest in fields if what == "says")
    return f"({reads}) -> {gives}" + (f"; {told}" if told else "")


def signatures() -> str:
    """What is in the file."""
    with tempfile.TemporaryDirectory() as folder:
        text = _registry(Path(folder))
    ops = {}
    for part in f"\n{text}".split("\nop ")[1:]:
        name, *entries = part.splitlines()
        if name in COMPUTING and name.startswith("pd_op."):
            ops[name] = _line(entries)
    lines = [
        f"{name.removeprefix('pd_op.')}{line}"
        for name, line in sorted(ops.items())
        if not (name.endswith("_") and ops.get(name[:-1]) == line)
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    target = resources.files("purdist.graphs.running").joinpath("signatures.txt")
    Path(str(target)).write_text(signatures())
