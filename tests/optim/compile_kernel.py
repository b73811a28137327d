"""Compiles the Triton kernel for architectures without a GPU, and prints what the compiler made of it as JSON.

python compile_kernel.py ARCHITECTURE...
"""

import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from rectified.optim.gpu.kernel import adam_step
from rectified.optim.gpu.table_format import BLOCK, WARPS

FLAGS = {"coded": False, "amsgrad": False, "kahan": False, "stochastic": False}
# What is compiled: dtypes of parameters, gradients and moments, and the flags that are on.
CASES = {
    "float32": (tl.float32, tl.float32, tl.float32, {}),
    "bfloat16": (tl.bfloat16, tl.bfloat16, tl.float32, {}),
    "bfloat16 kahan": (tl.bfloat16, tl.bfloat16, tl.float32, {"kahan": True}),
    "8 bits": (tl.float32, tl.float32, tl.float32, {"coded": True}),
    "bfloat16, 8 bits, stochastic": (tl.bfloat16, tl.bfloat16, tl.float32, {"coded": True, "stochastic": True}),
}
POINTERS = {"table": "*i64", "chunks": "*i32"}


def compiled(architecture, param, grad, state, flags):
    constants = {"param": param, "grad": grad, "state": state, "block": BLOCK, **FLAGS, **flags}
    constants |= {"numbers": None, "grad_scale": None, "found_inf": None}
    signature = {
        name: "constexpr" if name in constants else POINTERS.get(name, "i32" if name in ("t", "seed") else "fp32")
        for name in adam_step.arg_names
    }
    target, options = GPUTarget("cuda", architecture, 32), {"num_warps": WARPS, "enable_fp_fusion": True}
    return triton.compile(ASTSource(adam_step, signature=signature, constexprs=constants), target, options).asm


def usage(cubin):
    """Registers of a thread, and bytes that it spills."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        said = subprocess.run([tool, "--dump-resource-usage", file.name], capture_output=True, text=True, check=True)
    return {
        name: int(re.search(rf"{key}:(\d+)", said.stdout)[1])
        for name, key in (("registers", "REG"), ("local", "LOCAL"))
    }


def main():
    found = {}
    for architecture in map(int, sys.argv[1:]):
        for name, (*dtypes, flags) in CASES.items():
            asm = compiled(architecture, *dtypes, flags)
            found[f"{architecture} {name}"] = {
                "loads": Counter(re.findall(r"ld\.global[\w.:]*?\.(v\d\.b\d+|b\d+)", asm["ptx"])),
                "stores": Counter(re.findall(r"st\.global[\w.:]*?\.(v\d\.b\d+|b\d+)", asm["ptx"])),
                **usage(asm["cubin"]),
            }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
