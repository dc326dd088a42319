"""Message classes made of the schema's text, in a descriptor pool of their own.

Rules:
1. Never protobuf's default pool: it refuses a second definition of the same name, and the
   official client brings one.
2. Whoever reads a message's field gets Any; `convert` and its neighbours are the only readers.
"""

import re
from collections.abc import Mapping
from typing import Any

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from appliance.api.rpc import schema

# A message class: what protobuf makes at run time has no static type.
Proto = Any

_FIELD = re.compile(r"(repeated )?(map<(\w+),(\w+)>|\w+) (\w+)=(\d+)")
_SCALARS = {
    name: FieldDescriptorProto.Type.Value(f"TYPE_{name.upper()}")
    for name in (
        "bool", "int32", "int64", "uint32", "uint64", "float", "double", "string", "bytes",
    )
}  # fmt: skip


class Package:
    """The message classes of one package, by name: `Package(...)["ModelInferRequest"]`."""

    def __init__(
        self, name: str, messages: Mapping[str, str], enums: Mapping[str, str],
        oneofs: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        self._name = name
        self._enums = enums
        file = FileDescriptorProto(name=f"{name}.proto", package=name, syntax="proto3")
        for enum, values in enums.items():
            described = file.enum_type.add(name=enum)
            for number, value in enumerate(values.split()):
                described.value.add(name=value, number=number)
        for message, fields in messages.items():
            self._describe(file.message_type.add(name=message), fields)
            if oneofs is not None and message in oneofs:
                _make_oneof(file.message_type[-1], oneofs[message])
        pool = DescriptorPool()
        pool.Add(file)
        self._classes = {
            message: GetMessageClass(pool.FindMessageTypeByName(f"{name}.{message}"))
            for message in messages
        }

    def __getitem__(self, message: str) -> Proto:
        return self._classes[message]

    def _describe(self, message: DescriptorProto, fields: str) -> None:
        for text in filter(None, (part.strip() for part in fields.split(";"))):
            match = _FIELD.fullmatch(text)
            assert match is not None, f"schema of {message.name}: {text!r} is no field"
            repeated, kind, key, value, name, number = match.groups()
            field = message.field.add(name=name, number=int(number))
            field.label = FieldDescriptorProto.LABEL_OPTIONAL
            if key is not None:
                # A map is a repeated message of key and value, nested where it is used.
                entry = message.nested_type.add(name=f"{name.title().replace('_', '')}Entry")
                entry.options.map_entry = True
                self._describe(entry, f"{key} key=1; {value} value=2")
                field.type = FieldDescriptorProto.TYPE_MESSAGE
                field.type_name = f".{self._name}.{message.name}.{entry.name}"
            else:
                self._set_type(field, kind)
            if repeated or key is not None:
                field.label = FieldDescriptorProto.LABEL_REPEATED

    def _set_type(self, field: FieldDescriptorProto, kind: str) -> None:
        if kind in _SCALARS:
            field.type = _SCALARS[kind]
            return
        field.type_name = f".{self._name}.{kind}"
        field.type = (
            FieldDescriptorProto.TYPE_ENUM
            if kind in self._enums
            else FieldDescriptorProto.TYPE_MESSAGE
        )


def _make_oneof(message: DescriptorProto, name: str) -> None:
    message.oneof_decl.add(name=name)
    for field in message.field:
        field.oneof_index = 0


INFERENCE = Package(schema.PACKAGE, schema.MESSAGES, schema.ENUMS, schema.ONEOFS)
HEALTH = Package(schema.HEALTH_PACKAGE, schema.HEALTH_MESSAGES, schema.HEALTH_ENUMS)
