import pytest
import torch


@pytest.fixture(autouse=True, scope='module')
def one_thread():
    """On inputs this small threads cost more than they bring: 118 s instead of 39 on two busy cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
