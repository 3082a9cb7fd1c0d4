"""FastAPI dependencies of the routes. They are coroutines, as FastAPI starts a thread for each
dependency that is a plain function."""

from typing import Annotated

from fastapi import Depends, Query
from starlette.requests import HTTPConnection

from diffusiontalker.runtime.student import Student
from serve.admission.access import Caller
from serve.http.query_parameters import StudentParameters, check_unique
from serve.service import Service


async def get_service(connection: HTTPConnection) -> Service:
    """The replica's service."""
    service: Service = connection.app.state.service
    return service


ServiceDependency = Annotated[Service, Depends(get_service)]


async def get_caller(connection: HTTPConnection, service: ServiceDependency) -> Caller:
    """The caller, after access control. Raises Problem."""
    caller = await service.access.authorize(connection)
    connection.state.caller = caller.name
    check_unique(connection.query_params)
    return caller


CallerDependency = Annotated[Caller, Depends(get_caller)]


async def get_student(
    service: ServiceDependency,
    caller: CallerDependency,
    query: Annotated[StudentParameters, Query()],
) -> Student:
    """The student that the query names, after access control. Raises Problem."""
    served = service.students.find(query.model, query.steps)
    return await service.students.load(served.name)


StudentDependency = Annotated[Student, Depends(get_student)]
