package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// runLeaseElector takes part in one election and prints a line per change, so that tests can put replicas of Go and of
// Python on the same Lease. It ends with status 0 on SIGTERM or SIGINT and with status 1 when it loses the Lease.
func runLeaseElector() int {
	freshFlags("lease-elector")
	var namespace, name, identity, kubeconfig string
	var lease, renew, retry time.Duration
	var release bool
	pflag.StringVar(&kubeconfig, "kubeconfig", "", "how to reach the API server")
	pflag.StringVar(&namespace, "namespace", "default", "of the Lease")
	pflag.StringVar(&name, "name", "", "of the Lease")
	pflag.StringVar(&identity, "identity", "", "of this process, unique")
	pflag.DurationVar(&lease, "lease-duration", 15*time.Second, "others may take over after it")
	pflag.DurationVar(&renew, "renew-deadline", 10*time.Second, "give up when renewing fails for so long")
	pflag.DurationVar(&retry, "retry-period", 2*time.Second, "between tries")
	pflag.BoolVar(&release, "release", false, "give the Lease back at a clean end")
	pflag.Parse()

	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return 2
	}
	lock, err := resourcelock.NewFromKubeconfig(
		resourcelock.LeasesResourceLock, namespace, name, resourcelock.ResourceLockConfig{Identity: identity}, config, renew)
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock:            lock,
		LeaseDuration:   lease,
		RenewDeadline:   renew,
		RetryPeriod:     retry,
		ReleaseOnCancel: release,
		Name:            name,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) { say("started leading", identity) },
			OnStoppedLeading: func() { say("stopped leading", identity) },
			OnNewLeader:      func(holder string) { say("leader is", holder) },
		},
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return 2
	}
	elector.Run(ctx)
	if ctx.Err() == nil {
		return 1
	}
	return 0
}

// One line: seconds of the wall clock, what, who.
func say(what, who string) {
	fmt.Printf("%.6f %s %s\n", float64(time.Now().UnixMicro())/1e6, what, who)
}
