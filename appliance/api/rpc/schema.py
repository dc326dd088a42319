"""The protocol's messages by name and number, as protobuf's own notation has them.

Only what this box answers: a field that is absent here is skipped when it is read, as protobuf
does with any field it does not know.

Source: Open Inference Protocol v2, `open_inference_grpc.proto`; Triton's `grpc_service.proto` and
`model_config.proto` for the extensions; gRPC's `health.proto`.
"""

PACKAGE = "inference"
SERVICE = f"{PACKAGE}.GRPCInferenceService"

# Message -> its fields. A field is "[repeated] type name=number".
MESSAGES = {
    "ServerLiveRequest": "",
    "ServerLiveResponse": "bool live=1",
    "ServerReadyRequest": "",
    "ServerReadyResponse": "bool ready=1",
    "ModelReadyRequest": "string name=1; string version=2",
    "ModelReadyResponse": "bool ready=1",
    "ServerMetadataRequest": "",
    "ServerMetadataResponse": "string name=1; string version=2; repeated string extensions=3",
    "ModelMetadataRequest": "string name=1; string version=2",
    "TensorMetadata": "string name=1; string datatype=2; repeated int64 shape=3",
    "ModelMetadataResponse": """
        string name=1; repeated string versions=2; string platform=3;
        repeated TensorMetadata inputs=4; repeated TensorMetadata outputs=5;
        map<string,string> properties=6
    """,
    "InferParameter": """
        bool bool_param=1; int64 int64_param=2; string string_param=3; double double_param=4;
        uint64 uint64_param=5
    """,
    "InferTensorContents": """
        repeated bool bool_contents=1; repeated int32 int_contents=2;
        repeated int64 int64_contents=3; repeated uint32 uint_contents=4;
        repeated uint64 uint64_contents=5; repeated float fp32_contents=6;
        repeated double fp64_contents=7; repeated bytes bytes_contents=8
    """,
    "InferInputTensor": """
        string name=1; string datatype=2; repeated int64 shape=3;
        map<string,InferParameter> parameters=4; InferTensorContents contents=5
    """,
    "InferRequestedOutputTensor": "string name=1; map<string,InferParameter> parameters=2",
    "InferOutputTensor": """
        string name=1; string datatype=2; repeated int64 shape=3;
        map<string,InferParameter> parameters=4; InferTensorContents contents=5
    """,
    "ModelInferRequest": """
        string model_name=1; string model_version=2; string id=3;
        map<string,InferParameter> parameters=4; repeated InferInputTensor inputs=5;
        repeated InferRequestedOutputTensor outputs=6; repeated bytes raw_input_contents=7
    """,
    "ModelInferResponse": """
        string model_name=1; string model_version=2; string id=3;
        map<string,InferParameter> parameters=4; repeated InferOutputTensor outputs=5;
        repeated bytes raw_output_contents=6
    """,
    "ModelStreamInferResponse": "string error_message=1; ModelInferResponse infer_response=2",
    "ModelConfigRequest": "string name=1; string version=2",
    "ModelInput": "string name=1; DataType data_type=2; Format format=3; repeated int64 dims=4",
    "ModelOutput": """
        string name=1; DataType data_type=2; repeated int64 dims=3; string label_filename=4
    """,
    "ModelQueuePolicy": "uint32 max_queue_size=4",
    "ModelDynamicBatching": """
        repeated int32 preferred_batch_size=1; uint64 max_queue_delay_microseconds=2;
        uint64 priority_levels=4; uint64 default_priority_level=5;
        ModelQueuePolicy default_queue_policy=6
    """,
    "ModelParameter": "string string_value=1",
    "ModelConfig": """
        string name=1; string platform=2; int32 max_batch_size=4; repeated ModelInput input=5;
        repeated ModelOutput output=6; ModelDynamicBatching dynamic_batching=11;
        map<string,ModelParameter> parameters=14; string backend=17
    """,
    "ModelConfigResponse": "ModelConfig config=1",
    "ModelStatisticsRequest": "string name=1; string version=2",
    "StatisticDuration": "uint64 count=1; uint64 ns=2",
    "InferStatistics": """
        StatisticDuration success=1; StatisticDuration fail=2; StatisticDuration queue=3;
        StatisticDuration compute_input=4; StatisticDuration compute_infer=5;
        StatisticDuration compute_output=6
    """,
    "InferBatchStatistics": "uint64 batch_size=1; StatisticDuration compute_infer=3",
    "ModelStatistics": """
        string name=1; string version=2; uint64 last_inference=3; uint64 inference_count=4;
        uint64 execution_count=5; InferStatistics inference_stats=6;
        repeated InferBatchStatistics batch_stats=7
    """,
    "ModelStatisticsResponse": "repeated ModelStatistics model_stats=1",
    "ModelRepositoryParameter": """
        bool bool_param=1; int64 int64_param=2; string string_param=3; bytes bytes_param=4
    """,
    "RepositoryIndexRequest": "string repository_name=1; bool ready=2",
    "ModelIndex": "string name=1; string version=2; string state=3; string reason=4",
    "RepositoryIndexResponse": "repeated ModelIndex models=1",
    "RepositoryModelLoadRequest": """
        string repository_name=1; string model_name=2;
        map<string,ModelRepositoryParameter> parameters=3
    """,
    "RepositoryModelLoadResponse": "",
    "RepositoryModelUnloadRequest": """
        string repository_name=1; string model_name=2;
        map<string,ModelRepositoryParameter> parameters=3
    """,
    "RepositoryModelUnloadResponse": "",
    "SystemSharedMemoryStatusRequest": "string name=1",
    "RegionStatus": "string name=1; string key=2; uint64 offset=3; uint64 byte_size=4",
    "SystemSharedMemoryStatusResponse": "map<string,RegionStatus> regions=1",
    "SystemSharedMemoryRegisterRequest": """
        string name=1; string key=2; uint64 offset=3; uint64 byte_size=4
    """,
    "SystemSharedMemoryRegisterResponse": "",
    "SystemSharedMemoryUnregisterRequest": "string name=1",
    "SystemSharedMemoryUnregisterResponse": "",
}

# Messages whose fields are alternatives, and what the choice is called.
ONEOFS = {
    "InferParameter": "parameter_choice",
    "ModelRepositoryParameter": "parameter_choice",
}

# Enumeration -> its values, counted from 0.
ENUMS = {
    "DataType": """
        TYPE_INVALID TYPE_BOOL TYPE_UINT8 TYPE_UINT16 TYPE_UINT32 TYPE_UINT64 TYPE_INT8 TYPE_INT16
        TYPE_INT32 TYPE_INT64 TYPE_FP16 TYPE_FP32 TYPE_FP64 TYPE_STRING TYPE_BF16
    """,
    "Format": "FORMAT_NONE FORMAT_NHWC FORMAT_NCHW",
}

HEALTH_PACKAGE = "grpc.health.v1"
HEALTH_SERVICE = f"{HEALTH_PACKAGE}.Health"
HEALTH_MESSAGES = {
    "HealthCheckRequest": "string service=1",
    "HealthCheckResponse": "ServingStatus status=1",
}
HEALTH_ENUMS = {"ServingStatus": "UNKNOWN SERVING NOT_SERVING SERVICE_UNKNOWN"}
