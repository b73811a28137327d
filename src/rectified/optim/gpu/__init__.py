"""One Triton kernel for a group's step on a GPU, where torch's fused op would need copies."""
