"""What was found in documents is found anew as soon as one of them is another."""

from rollout.core.documents import Document
from rollout.engine.kept import Kept


def test_it_is_found_anew_only_where_a_document_or_the_question_is_another() -> None:
    kept, found = Kept[int](), list[str]()

    def find(why: str) -> int:
        found.append(why)
        return len(found)

    one: Document = {"metadata": {"name": "a"}}
    assert kept.found([one, None], "x", lambda: find("first")) == 1
    assert kept.found([one, None], "x", lambda: find("the same")) == 1
    assert kept.found([dict(one), None], "x", lambda: find("another document")) == 2
    assert kept.found([one, None], "x", lambda: find("the first again")) == 3
    assert kept.found([one, None], "y", lambda: find("another question")) == 4
    assert kept.found([one], "y", lambda: find("fewer")) == 5
    assert kept.found([], "y", lambda: find("none")) == 6
    assert kept.found([], "y", lambda: find("none again")) == 6
    assert found == ["first", "another document", "the first again", "another question", "fewer", "none"]
