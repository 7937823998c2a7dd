import pytest

pytest.register_assert_rewrite("tests.pipeline.rig")  # so that its assertions tell what they compared
