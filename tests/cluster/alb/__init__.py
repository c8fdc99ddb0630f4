"""What stands for the load balancer in the tests' cluster: AWS's controller and the ALB that it makes, in one process.

It is strict where a product could be tempted to rely on kindness, and says below what it takes from which page; where
AWS's pages are silent, what was decided, and that it was.

From the documents of the AWS Load Balancer Controller and from its code:
- registered is a pod whose endpoint is ready, and one whose containers are ready while its gate is not yet open, unless
  it is terminating; pods of nodes that are lost only when there are no others;
- a pod's gate is `target-health.elbv2.k8s.aws/<name of the target group binding>`, put in when the pod is made, if the
  namespace has the label and a service of an Ingress selects the pod; the webhook fails open (since 2.11.1);
- Exact before Prefix by length before ImplementationSpecific in the order given; nothing matched is a 404 of the load
  balancer's own; a service that does not exist is a 503.

From the guide to Application Load Balancers:
- a new target must pass one health check, an unhealthy one `healthy-threshold-count` in a row; with none but unhealthy
  ones all of them get requests;
- 502 for a target that refuses, resets, ends without an answer or answers nonsense, or is cut off by the end of the
  deregistration delay; 503 without a target; 504 after 10 s without a connection or the idle time-out without a byte;
  460 for a client that went; 463 for more than 30 addresses in X-Forwarded-For.

Not said there, and decided here:
- no request is ever sent twice, nor to a second target, not even where nothing was sent yet;
- targets that never passed a check get nothing, also when there are no others;
- the first check comes as soon as the registration is through; connections in the pool stay when a target drains;
- an answer that breaks off in its middle is logged as 502 (or 504), though the client got another status;
- `Expect: 100-continue` is answered by the load balancer and not passed on.

Otherwise than the real ones, on purpose: all Ingresses share the one address, as if they were of one group;
X-Forwarded-Port is the port that the Ingress names, wherever the stand-in listens; a gate opens at once, not at the
controller's next look within 15 s; there is no HTTP/2, and no stickiness, authentication or action by annotation: who
asks for those is refused. A client's body that turns to nonsense halfway ends as 408, with the idle time-out.
"""
