"""Which texts an encoder is compared on."""

import pytest

from cubefast.data.agreement import compared


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 1000])
def test_four_texts_are_looked_at_from_the_first_to_the_last_and_of_these_alone_all(count):
    rows = compared(count).tolist()
    assert len(rows) == min(count, 4)
    assert (rows[0], rows[-1]) == (0, count - 1)
    assert compared(len(rows)).tolist() == list(range(len(rows)))
