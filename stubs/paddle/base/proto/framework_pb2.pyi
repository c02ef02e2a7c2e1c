from typing import Any, Self, TypeVar

T = TypeVar("T")

class _Repeated(list[T]):
    def add(self, **fields: Any) -> T: ...

class _Message:
    @classmethod
    def FromString(cls, content: bytes) -> Self: ...
    def SerializeToString(self) -> bytes: ...
    def HasField(self, name: str) -> bool: ...
    def CopyFrom(self, other: Self) -> None: ...
    def DiscardUnknownFields(self) -> None: ...
    def ByteSize(self) -> int: ...

class ProgramDesc(_Message):
    blocks: list[BlockDesc]

class AttrType:
    BLOCK: int
    BLOCKS: int
    @staticmethod
    def Name(number: int) -> str: ...

class OpProto(_Message):
    class Attr(_Message):
        name: str
        type: int

    class Var(_Message):
        name: str
        duplicable: bool
        intermediate: bool
        dispensable: bool
        extra: bool

    type: str
    inputs: list[Var]
    outputs: list[Var]
    attrs: list[Attr]

class BlockDesc(_Message):
    idx: int
    parent_idx: int
    ops: list[OpDesc]
    vars: _Repeated[VarDesc]

class OpDesc(_Message):
    class Attr(_Message):
        name: str
        type: int
        i: int
        block_idx: int
        blocks_idx: list[int]

    class Var(_Message):
        parameter: str
        arguments: list[str]

    type: str
    attrs: list[Attr]
    inputs: list[Var]
    outputs: _Repeated[Var]

class VarDesc(_Message):
    name: str
    type: VarType
    persistable: bool
    need_check_feed: bool

class VarType(_Message):
    class Type:
        @staticmethod
        def Name(number: int) -> str: ...
        @staticmethod
        def Value(name: str) -> int: ...

    class TensorDesc(_Message):
        data_type: int
        dims: list[int]

    class DenseTensorDesc(_Message):
        tensor: VarType.TensorDesc

    DENSE_TENSOR: int
    DENSE_TENSOR_ARRAY: int
    type: int
    dense_tensor: DenseTensorDesc
