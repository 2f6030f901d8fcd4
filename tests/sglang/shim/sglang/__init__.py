# SPDX-License-Identifier: Apache-2.0
"""A stand-in for SGLang in tests: the surface that a storage backend sees, nothing else.

The environment variable SGLANG_SHIM_PROFILE selects the release that is imitated; see _profile.py.
"""
