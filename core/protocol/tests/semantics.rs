//! Goal: what a version cannot say is an error, not a silent loss; record bytes are never copied. The bytes themselves are
//! compared with Kafka's in tests/golden.

use bytes::Bytes;
use ottla_protocol::fetch_response::{FetchableTopicResponse, PartitionData};
use ottla_protocol::produce_request::{PartitionProduceData, TopicProduceData};
use ottla_protocol::{
    ApiKey, ApiVersionsRequest, DecodeProblem, EncodeError, FetchRequest, FetchResponse, Message, MetadataRequest,
    OffsetCommitKey, ProduceRequest, RawTaggedField, RecordType, Records, Request, RequestHeader, Str, TopicRecord,
    Writer,
};

#[test]
fn a_set_field_that_the_version_lacks_is_refused_unless_ignorable() {
    let mut request = FetchRequest { replica_id: 5, rack_id: Str::from("ignorable"), ..Default::default() };
    assert!(request.to_bytes(4).is_ok());
    assert_eq!(
        request.to_bytes(15),
        Err(EncodeError::FieldNotInVersion { field: "FetchRequest.replica_id", version: 15 })
    );
    request.replica_id = -1;
    request.replica_state.replica_id = 5;
    assert!(request.to_bytes(15).is_ok());
    assert_eq!(
        request.to_bytes(14),
        Err(EncodeError::FieldNotInVersion { field: "FetchRequest.replica_state", version: 14 })
    );
}

#[test]
fn null_is_refused_where_the_version_has_none() {
    let all = MetadataRequest { topics: None, ..Default::default() };
    assert!(all.to_bytes(1).is_ok());
    assert_eq!(all.to_bytes(0), Err(EncodeError::UnexpectedNull { field: "MetadataRequest.topics", version: 0 }));
}

#[test]
fn versions_and_tags_are_checked() {
    let unsupported = EncodeError::UnsupportedVersion { message: "ApiVersionsRequest", version: 99 };
    assert_eq!(ApiVersionsRequest::default().to_bytes(99), Err(unsupported));
    let problem = ApiVersionsRequest::from_bytes(Bytes::new(), 99).unwrap_err().problem;
    assert_eq!(problem, DecodeProblem::UnsupportedVersion { message: "ApiVersionsRequest", version: 99 });
    let tag = RawTaggedField { tag: 9, data: Bytes::from_static(b"x") };
    let tagged = ApiVersionsRequest { unknown_tagged_fields: vec![tag], ..Default::default() };
    assert!(tagged.to_bytes(3).is_ok_and(|bytes| bytes.ends_with(&[1, 9, 1, b'x'])));
    assert_eq!(tagged.to_bytes(2), Err(EncodeError::TagsNotInVersion));
}

#[test]
fn the_client_id_keeps_its_old_encoding_in_header_version_2() {
    let header = RequestHeader {
        request_api_key: ApiKey::ApiVersions.code(),
        request_api_version: 3,
        correlation_id: 1,
        client_id: Some(Str::from("ab")),
        ..Default::default()
    };
    assert_eq!(header.to_bytes(2).unwrap(), &[0, 18, 0, 3, 0, 0, 0, 1, 0, 2, b'a', b'b', 0][..]);
}

#[test]
fn produced_records_are_slices_of_the_frame_and_fetched_ones_pass_by_reference() {
    let records = Records::from(Bytes::from(vec![7; 1000]));
    let partition = PartitionProduceData { index: 3, records: Some(records.clone()), ..Default::default() };
    let topic = TopicProduceData { name: Str::from("flights"), partition_data: vec![partition], ..Default::default() };
    let frame = ProduceRequest { topic_data: vec![topic], ..Default::default() }.to_bytes(9).unwrap();
    let request = ProduceRequest::from_bytes(frame.clone(), 9).unwrap();
    let got = request.topic_data[0].partition_data[0].records.as_ref().unwrap();
    assert_eq!(*got, records);
    assert!(frame.as_ptr_range().contains(&got.to_bytes().unwrap().as_ptr()));

    let partition = PartitionData { records: Some(records.clone()), ..Default::default() };
    let topic = FetchableTopicResponse { partitions: vec![partition], ..Default::default() };
    let mut w = Writer::new();
    FetchResponse { responses: vec![topic], ..Default::default() }.encode(&mut w, 13).unwrap();
    let chunks = w.into_chunks();
    assert_eq!(chunks.chunks().len(), 3);
    assert_eq!(chunks.chunks()[1].to_bytes().unwrap().as_ptr(), records.to_bytes().unwrap().as_ptr());
}

#[test]
fn keys_are_the_schemas() {
    assert_eq!((TopicRecord::RECORD_TYPE, OffsetCommitKey::RECORD_TYPE), (2, 1));
    assert_eq!(FetchRequest::API_KEY, ApiKey::Fetch);
    for key in ApiKey::ALL {
        assert!(key.versions().0 <= key.versions().1 && key.versions().1 <= key.highest_version(), "{key}");
    }
}
