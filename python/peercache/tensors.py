# SPDX-License-Identifier: Apache-2.0
"""Memory of torch tensors and numpy arrays, by what they can do rather than by what they are.

Neither library is imported: SGLang brings torch, tests bring numpy, and old releases of torch lack
half of what one would ask them, so the fewest methods are used.
"""


def count(tensor):
    """The number of elements."""
    numel = getattr(tensor, "numel", None)
    return numel() if numel is not None else len(tensor)


def _is_flat(tensor):
    """Whether the elements lie one behind the other in host memory."""
    contiguous = getattr(tensor, "is_contiguous", None)
    if contiguous is not None:
        device = getattr(getattr(tensor, "device", None), "type", "cpu")
        return contiguous() and device == "cpu"
    return tensor.flags.c_contiguous


def flat_memory(tensor, writable=False):
    """(address, length in bytes) of a contiguous host tensor, or ValueError."""
    if not _is_flat(tensor):
        raise ValueError("the tensor is not contiguous memory of this host")
    if hasattr(tensor, "data_ptr"):
        return tensor.data_ptr(), tensor.numel() * tensor.element_size()
    if writable and not tensor.flags.writeable:
        raise ValueError("the array is read-only")
    return tensor.ctypes.data, tensor.nbytes
