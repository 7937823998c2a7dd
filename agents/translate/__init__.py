"""Facts and a policy in, commands out: pure."""
