"""Two devices on the CPU, for pmap and sharding; read when jax first uses a device."""

import os

os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
