//! Topics, configs and the cluster.

use super::scenarios;
use crate::context::{Context, Outcome};
use crate::protocol::AdminCommand;
use crate::protocol::Each;
use crate::{check, same};

scenarios! { "admin":
    @calm topics_come_and_go;
}

/// A topic is created once, listed, described with its partitions, and gone after deletion.
async fn topics_come_and_go(cx: Context) -> Outcome {
    let admin = cx.admin().await?;
    let topic = cx.topic("topic", 3).await?;
    check!(admin.names().await?.contains(&topic), "the list of topics lacks {topic}");
    let described = admin.topics(&[&topic]).await?.pop();
    let Some(Each::Ok(description)) = described else { return Err(format!("no description: {described:?}").into()) };
    same!(description.partitions.len(), 3, "the number of partitions");
    check!(!description.internal, "{topic} is not internal");
    let again = admin.create_topic(&topic, 3, &[]).await;
    check!(again.is_err_and(|error| error.0.contains("TOPIC_ALREADY_EXISTS")), "a second topic of the same name");
    let deleted = admin.results(AdminCommand::DeleteTopics { topics: vec![topic.clone()] }).await?;
    same!(deleted, vec![Each::Ok(())], "the result of the deletion");
    cx.eventually("the end of the topic", || async { Ok((!admin.names().await?.contains(&topic)).then_some(())) })
        .await?;
    let missing = admin.topics(&[&topic]).await?.pop();
    check!(
        matches!(&missing, Some(Each::Error(failure)) if failure.is("UNKNOWN_TOPIC_OR_PARTITION")),
        "expected an unknown topic, found {missing:?}"
    );
    admin.close().await
}
