"""Which of our environment variables the vLLM server gets: those that it, its libraries and its compilers read.

All others stay here: keys of other services, proxies, and what nobody thought of. HARNESS_VLLM_ENV names further ones.
"""

import os
from collections.abc import Mapping

NAMES = {
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "TZ", "LANG", "LANGUAGE", "TMPDIR", "TMP", "TEMP"),
    *("LD_LIBRARY_PATH", "LD_PRELOAD", "GLIBC_TUNABLES", "VIRTUAL_ENV", "CONDA_PREFIX"),
    # not PYTHONDONTWRITEBYTECODE: packages are installed uncompiled, and every start would compile them again
    # Triton and FlashInfer compile while the server starts
    *("CC", "CXX", "CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "LIBRARY_PATH", "MAX_JOBS"),
    *("PYTHONHASHSEED", "PYTHONNOUSERSITE", "PYTHONUNBUFFERED", "PYTHONUSERBASE", "HF_HOME"),
    "SERVER_PATH",  # read by the vllm-python that machine/unpack.py writes
}
PREFIXES = (
    *("LC_", "XDG_", "MALLOC_"),
    # cards, and how they talk to each other
    *("CUDA", "CUDNN_", "CUBLAS", "CUTLASS_", "NVIDIA_", "NCCL_", "GPU_", "UCX_", "GLOO_", "CCL_"),
    *("HIP", "HSA_", "ROC", "RCCL_", "AMD_", "MIOPEN_", "AITER_", "ZE_", "ONEAPI_", "SYCL_"),
    # arithmetic on CPUs
    *("OMP_", "GOMP_", "KMP_", "MKL_", "DNNL_", "ONEDNN_", "OPENBLAS_", "ATEN_"),
    *("VLLM_", "TORCH", "PYTORCH_", "TRITON_", "INDUCTOR_", "FLASHINFER_", "FLASH_", "TVM_", "TILELANG_", "XGRAMMAR_"),
    *("HF_HUB_", "TRANSFORMERS_", "TOKENIZERS_", "SAFETENSORS_"),
    "FAKE_",  # read by programs that stand in for vLLM
)
SECRET = ("_KEY", "_TOKEN", "_SECRET", "_PASSWORD")  # nothing that the server needs, under whatever prefix


def passed_on(ours: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The part of our environment that the server gets."""
    further = {name.strip() for name in ours.get("HARNESS_VLLM_ENV", "").split(",")}
    known = {name for name in ours if (name in NAMES or name.startswith(PREFIXES)) and not name.endswith(SECRET)}
    return {name: value for name, value in ours.items() if name in known | further}
