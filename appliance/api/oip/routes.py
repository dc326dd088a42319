"""All routes of `/v2`."""

from fastapi import APIRouter

from appliance.api.oip import infer, models, repository, server, sharedmemory

router = APIRouter()
router.include_router(infer.router)
router.include_router(server.router)
router.include_router(models.router)
router.include_router(repository.router)
router.include_router(sharedmemory.router)
