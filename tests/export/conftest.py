"""A marker of this folder."""


def pytest_configure(config) -> None:
    config.addinivalue_line('markers', 'formats: needs packages of optional formats; run by `make test-formats`')
