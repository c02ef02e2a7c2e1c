from contextlib import AbstractContextManager

class UniqueNameGenerator:
    ids: dict[str, int]

generator: UniqueNameGenerator

def generate(key: str) -> str: ...
def guard(new_generator: str | None = None) -> AbstractContextManager[None]: ...
